"""Test a store that rejects requests, in contrast to an unavailable one, and missing features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from storage import refusals
from storage.errors import ServiceRefused, ServiceUnavailable, StoreRefused
from storage.health.holds import Holds
from storage.login.login_values import Login
from storage.objects.installation import mark_key
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.refusals import STORE, RefusalWatch
from tests.integration.harness import factories
from tests.network.certificates import Certificate
from tests.network.store_proxy import No, Rule, StoreProxy, store_proxy
from tests.network.tls_front import tls_front

DENIED = No(403, "AccessDenied", "The key may not write.")
LIMITS, LOGIN = Limits(10, 6, 5), Login("any", "any")


@pytest.fixture
def proxy(store: ObjectStore) -> Iterator[StoreProxy]:
    """Yield the suite's store behind a proxy that rejects the requests a test chooses."""
    with store_proxy(store.endpoint_url) as proxy:
        yield proxy


def _objects(store: ObjectStore, proxy: StoreProxy, database: Database | None = None) -> Objects:
    watch = RefusalWatch(STORE, database)
    return Objects(replace(store, endpoint_url=proxy.url), max_connections=2, watch=watch)


def _upload(source: bytes | Path, data: bytes) -> Upload:
    digest = hashlib.sha256(data).hexdigest()
    return Upload(source, f"refusals/{uuid4()}", len(data), digest, "text/plain", "a  b.txt")


def test_a_refusal_is_logged_once_with_code_and_message_until_it_is_over(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    proxy.rule = lambda method, *_: DENIED if method == "PUT" else None
    bucket = _objects(store, proxy)

    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(StoreRefused) as refused:
                bucket.put(_upload(b"x", b"x"))
        proxy.rule = lambda *_: None
        bucket.put(_upload(b"x", b"x"))
        bucket.put(_upload(b"x", b"x"))

    assert (refused.value.code, refused.value.answer) == ("AccessDenied", "The key may not write.")
    assert "AccessDenied" not in str(refused.value), "callers see this text"
    assert [(line["event"], line.get("code"), line.get("answer")) for line in lines] == [
        ("part refuses", "AccessDenied", "The key may not write."),
        ("part answers again", None, None),
    ]


@pytest.mark.parametrize(
    "no", [No(503, "SlowDown"), No(500, "InternalError"), No(503, "x"), No(429, "TooMany")]
)
def test_a_request_to_wait_is_no_refusal(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, no: No
) -> None:
    proxy.rule = lambda *_: no
    with capture_logs() as lines, pytest.raises(ServiceUnavailable) as away:
        _objects(store, proxy).put(_upload(b"x", b"x"))

    assert not isinstance(away.value, ServiceRefused)
    assert [(line["event"], line["code"]) for line in lines] == [("part is unavailable", no.code)]


def test_a_store_whose_certificate_is_not_trusted_is_a_refusal(
    store: ObjectStore, tmp_path: Path
) -> None:
    shown = Certificate.authority().for_loopback()
    with tls_front(urlsplit(store.endpoint_url).port or 0, tmp_path) as front:
        front.show(shown)
        bucket = Objects(replace(store, endpoint_url=front.url), max_connections=2)
        with pytest.raises(StoreRefused) as refused:
            bucket.put(_upload(b"x", b"x"))

    assert refused.value.code == "CERTIFICATE_NOT_TRUSTED"
    assert "certificate" in refused.value.answer


def test_a_full_store_is_a_refusal(store: ObjectStore, objects: Objects, proxy: StoreProxy) -> None:
    proxy.rule = lambda *_: No(507, "XMinioStorageFull")
    with pytest.raises(StoreRefused, match="S3"):
        _objects(store, proxy).put(_upload(b"x", b"x"))


def test_refused_files_hold_their_jobs_and_are_shown_until_the_bucket_takes_them(
    database: Database, store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    # Given a job with one downloaded document, and a bucket that rejects it
    job_id = factories.listed_job(database, 1)
    factories.upload(database, factories.claimed(database, job_id))
    proxy.rule = lambda method, *_: DENIED if method == "PUT" else None
    bucket = _objects(store, proxy, database)

    # When its upload fails
    with pytest.raises(StoreRefused):
        bucket.put(_upload(b"x", b"x"))

    # Then the job and health report it
    hold = Holds(database, LOGIN).of({job_id: "8.26"}).get(job_id)
    assert hold is not None
    assert (hold.reason, hold.until_time) == ("STORE_REFUSED", None)
    assert "AccessDenied" in hold.message
    assert refusals.troubles(database, STORE) == [
        "S3 refuses PUT: AccessDenied (The key may not write.)."
    ]

    # When the operator has repaired it, and another process uploads the first file
    proxy.rule = lambda *_: None
    _objects(store, proxy, database).put(_upload(b"x", b"x"))

    # Then no trace of the rejection is left
    assert Holds(database, LOGIN).of({job_id: "8.26"}).get(job_id) is None
    assert refusals.troubles(database, STORE) == []


def test_a_rejection_that_no_request_meets_any_more_is_over(
    database: Database, store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    proxy.rule = lambda *_: DENIED
    with pytest.raises(StoreRefused):
        _objects(store, proxy, database).put(_upload(b"x", b"x"))
    factories.execute(
        database,
        "UPDATE service_refusals SET since_time = since_time - interval '2 minutes',"
        " see_time = see_time - interval '2 minutes'",
    )

    assert refusals.troubles(database, STORE) == []


def test_a_refused_deletion_holds_no_job(
    database: Database, store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    job_id = factories.listed_job(database, 1)
    proxy.rule = lambda method, *_: DENIED if method in {"POST", "DELETE"} else None
    with pytest.raises(StoreRefused):
        _objects(store, proxy, database).delete(["refusals/any"])

    assert Holds(database, LOGIN).of({job_id: "8.26"}).get(job_id) is None
    assert refusals.troubles(database, STORE) != []


# Features that a store lacks.


def _no_checksum(no: No) -> Rule:
    def rule(_: str, __: str, headers: Mapping[str, str]) -> No | None:
        return no if "x-amz-checksum-sha256" in {name.lower() for name in headers} else None

    return rule


@pytest.mark.parametrize(
    "no",
    [
        No(400, "InvalidArgument", "x-amz-checksum-sha256?"),
        No(501, "NotImplemented", "A header you provided implies functionality"),
        No(403, "SignatureDoesNotMatch", "The gateway has dropped the header."),
    ],
    ids=lambda no: no.code,
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_store_without_checksums_takes_files_and_is_noted_once(
    store: ObjectStore,
    objects: Objects,
    proxy: StoreProxy,
    tmp_path: Path,
    no: No,
    *,
    in_memory: bool,
) -> None:
    proxy.rule = _no_checksum(no)
    bucket = _objects(store, proxy)
    data = b"x" * 300_000
    file = tmp_path / "file"
    file.write_bytes(data)
    uploads = [_upload(data if in_memory else file, data) for _ in range(3)]

    with capture_logs() as lines:
        for upload in uploads:
            bucket.put(upload)

    sizes = {upload.key: len(data) for upload in uploads}
    assert objects.present(sizes) == sizes.keys()
    assert [(line["event"], line["step"]) for line in lines] == [
        ("store lacks a step", "x-amz-checksum-sha256")
    ]
    assert proxy.refused == ["PUT"], "it is not sent again"


def test_another_400_is_a_refusal_with_its_own_code(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    proxy.rule = lambda *_: No(400, "InvalidBucketState")
    with pytest.raises(StoreRefused) as refused:
        _objects(store, proxy).put(_upload(b"x", b"x"))
    assert refused.value.code == "InvalidBucketState"


def test_a_bucket_without_read_permission_is_used_all_the_same(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    bucket_path = f"/{store.bucket}"
    proxy.rule = lambda method, path, _: (
        DENIED if method == "HEAD" and path.split("?")[0] == bucket_path else None
    )
    bucket = _objects(store, proxy)

    assert not bucket.ensure_bucket()
    bucket.probe()


def test_without_the_right_to_list_a_missing_object_is_missing(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    # Given a store that answers 403 for a missing object, as S3 does without s3:ListBucket
    objects.write(mark_key(objects), b"any")
    there, missing = _upload(b"x", b"x"), _upload(b"x", b"x")
    objects.put(there)
    proxy.rule = lambda _, path, __: DENIED if missing.key in path or "list-type" in path else None
    bucket = _objects(store, proxy)

    assert bucket.present({there.key: 1, missing.key: 1}) == {there.key}


def test_rejected_credentials_do_not_mean_that_an_object_is_missing(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    objects.write(mark_key(objects), b"any")
    proxy.rule = lambda *_: DENIED
    with pytest.raises(StoreRefused):
        _objects(store, proxy).present({"refusals/any": 1})


def test_many_are_looked_up_one_by_one_if_the_bucket_may_not_be_listed(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    folder = f"any/processos/1/documentos/{uuid4()}"
    uploads = [replace(_upload(b"x", b"x"), key=f"{folder}/{i}") for i in range(20)]
    for upload in uploads:
        objects.put(upload)
    proxy.rule = lambda _, path, __: DENIED if "list-type" in path else None

    sizes = {upload.key: 1 for upload in uploads}
    assert _objects(store, proxy).present(sizes) == sizes.keys()


@pytest.mark.parametrize("no", [No(501, "NotImplemented"), No(405, "MethodNotAllowed")])
def test_a_store_without_deletion_of_many_deletes_one_by_one(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, no: No
) -> None:
    uploads = [_upload(b"x", b"x") for _ in range(3)]
    for upload in uploads:
        objects.put(upload)
    proxy.rule = lambda method, *_: no if method == "POST" else None

    _objects(store, proxy).delete([upload.key for upload in uploads])

    assert objects.present({upload.key: 1 for upload in uploads}) == set()


# Probe.


@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET", "DELETE"])
def test_the_probe_names_what_is_refused(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, method: str
) -> None:
    methods = {"DELETE": {"POST", "DELETE"}}.get(method, {method})
    proxy.rule = lambda http_method, *_: DENIED if http_method in methods else None

    with pytest.raises(StoreRefused) as refused:
        _objects(store, proxy).probe()

    assert refused.value.operation == method
    assert refused.value.detail.startswith(f"S3 refuses {method}: AccessDenied")


def test_the_probe_leaves_nothing_behind(store: ObjectStore, proxy: StoreProxy) -> None:
    below = replace(store, endpoint_url=proxy.url, prefix=f"probed/{uuid4()}/")
    bucket = Objects(below, max_connections=2)

    bucket.probe()

    found = bucket._minio.list_objects(store.bucket, prefix=below.prefix, recursive=True)
    assert list(found) == []
