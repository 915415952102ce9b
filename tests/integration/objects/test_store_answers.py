"""Test answers that are not in the form of S3: redirects, pages of proxies, broken XML."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from storage import refusals
from storage.errors import ServiceRefused, ServiceUnavailable, StoreRefused
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import StoreCheck
from storage.objects.uploads import Upload
from storage.postgres.database import Database
from storage.refusals import STORE, RefusalWatch
from tests.network.store_proxy import No, StoreProxy, store_proxy

KEY = f"any/processos/{'1' * 20}/documentos/{uuid4()}/{'0' * 16}.pdf"
PAGE = b"<html><body>Em manuten&ccedil;&atilde;o<br></body></html>"
XML = b"<Error><Code>AccessDenied</Code><Message>The key may not.</Message></Error>"
LATIN = XML.replace(b"may", "n\xe3o".encode("latin-1"))


def _put(bucket: Objects) -> object:
    digest = hashlib.sha256(b"x").hexdigest()
    bucket.put(Upload(b"x", KEY, 1, digest, "text/plain", "any"))
    return None


CALLS: dict[str, Callable[[Objects], object]] = {
    "PUT": _put,
    "PUT of a mark": lambda bucket: bucket.write("mark", b"any", is_new=True),
    "HEAD": lambda bucket: bucket.present({"any": 1}),
    "GET": lambda bucket: bucket.read("any"),
    "LIST": lambda bucket: list(bucket.documents()),
    "DELETE": lambda bucket: bucket.delete([KEY]),
}


@pytest.fixture
def proxy(store: ObjectStore, objects: Objects) -> Iterator[StoreProxy]:
    """Yield the suite's store behind a proxy that answers in its place."""
    with store_proxy(store.endpoint_url) as proxy:
        yield proxy


def _bucket(store: ObjectStore, proxy: StoreProxy) -> Objects:
    return Objects(replace(store, endpoint_url=proxy.url), max_connections=2)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_refusal_and_is_not_followed(
    store: ObjectStore, proxy: StoreProxy, call: str, status: int
) -> None:
    to = f"{proxy.url}/elsewhere"
    proxy.rule = lambda *_: No(status, page=PAGE, content_type="text/html", location=to)

    with pytest.raises(StoreRefused):
        CALLS[call](_bucket(store, proxy))

    assert len(proxy.refused) <= 2, "one redirect was followed"


def test_a_redirect_is_reported_with_its_server_but_no_path(
    store: ObjectStore, proxy: StoreProxy
) -> None:
    proxy.rule = lambda *_: No(301, page=b"", location="https://s3.test/bucket/a-case")
    with pytest.raises(StoreRefused) as refused:
        _bucket(store, proxy).read("any")
    assert (refused.value.code, refused.value.answer) == (
        "HTTP 301",
        "a redirect to https://s3.test",
    )


@pytest.mark.parametrize("call", sorted({*CALLS} - {"HEAD"}))
@pytest.mark.parametrize(
    ("no", "code", "answer"),
    [
        (No(403, page=XML, content_type="text/xml"), "AccessDenied", "The key may not."),
        (No(403, page=XML, content_type=""), "AccessDenied", "The key may not."),
        (No(403, page=LATIN), "AccessDenied", "The key n\ufffdo not."),
        (No(403, page=XML[:20]), "HTTP 403", ""),
        (No(403, page=PAGE, content_type="text/html"), "HTTP 403", ""),
        (No(403, page=b'{"error": "no"}', content_type="application/json"), "HTTP 403", "no"),
        (No(403, page=b""), "HTTP 403", ""),
    ],
    ids=["text/xml", "no type", "latin-1", "broken", "page", "json", "empty"],
)
def test_code_and_message_of_a_refusal_are_read_from_every_body(
    store: ObjectStore, proxy: StoreProxy, call: str, no: No, code: str, answer: str
) -> None:
    proxy.rule = lambda *_: no
    with capture_logs() as lines, pytest.raises(StoreRefused) as refused:
        CALLS[call](_bucket(store, proxy))

    assert refused.value.code == code
    assert answer in refused.value.answer
    assert [line["code"] for line in lines if line["event"] == "part refuses"] == [code]


def test_a_refusal_in_any_characters_has_its_row_and_its_sentence(
    store: ObjectStore, proxy: StoreProxy, database: Database
) -> None:
    proxy.rule = lambda *_: No(403, page=b"no\0 entry\x1b[31m\r\n", content_type="text/plain")
    watch = RefusalWatch(STORE, database)
    bucket = Objects(replace(store, endpoint_url=proxy.url), max_connections=1, watch=watch)

    with pytest.raises(StoreRefused):
        _put(bucket)

    assert refusals.troubles(database, STORE) == ["S3 refuses PUT: HTTP 403 (no? entry?[31m)."]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [409, 429])
def test_a_page_with_a_request_to_wait_is_no_refusal(
    store: ObjectStore, proxy: StoreProxy, call: str, status: int
) -> None:
    proxy.rule = lambda *_: No(status, page=PAGE, content_type="text/html")
    with pytest.raises(ServiceUnavailable) as away:
        CALLS[call](_bucket(store, proxy))
    assert (type(away.value), away.value.code) == (ServiceUnavailable, f"HTTP {status}")


@pytest.mark.parametrize("call", ["PUT", "LIST", "DELETE"])
@pytest.mark.parametrize("body", [PAGE, XML])
def test_a_page_in_place_of_an_answer_proves_nothing(
    store: ObjectStore, proxy: StoreProxy, call: str, body: bytes
) -> None:
    proxy.rule = lambda *_: No(200, page=body, content_type="text/html")
    with pytest.raises(StoreRefused):
        CALLS[call](_bucket(store, proxy))


def test_a_put_that_is_answered_with_a_body_counts_if_the_object_is_there(
    store: ObjectStore, objects: Objects, proxy: StoreProxy
) -> None:
    page = No(200, page=PAGE, etag='"any"')
    bucket = _bucket(store, proxy)
    objects.delete([KEY])
    # Given a page for every request, or for PUT only, while the store holds no such object
    for methods in ({"PUT", "HEAD"}, {"PUT"}):
        proxy.rule = lambda method, *_, methods=methods: page if method in methods else None
        with pytest.raises(StoreRefused):
            _put(bucket)

    # Then only the object itself confirms such a put
    _put(objects)
    _put(bucket)


@pytest.mark.parametrize(
    "no", [No(501, page=b""), No(400, "InvalidArgument"), No(403, "SignatureDoesNotMatch")]
)
def test_a_mark_is_set_in_a_store_that_refuses_conditions(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, no: No
) -> None:
    names = "if-none-match"
    proxy.rule = lambda _, __, sent: no if names in {name.lower() for name in sent} else None
    bucket, key = _bucket(store, proxy), f"marks/{uuid4()}"

    with capture_logs() as lines:
        bucket.write(key, b"any", is_new=True)

    assert objects.read(key) == b"any"
    assert [(line["event"], line["step"]) for line in lines] == [
        ("store lacks a step", "If-None-Match")
    ]


@pytest.mark.parametrize("no", [No(412, page=b""), No(409, "ConditionalRequestConflict")])
def test_a_mark_that_is_there_stays(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, no: No
) -> None:
    key = f"marks/{uuid4()}"
    objects.write(key, b"first")
    proxy.rule = lambda *_: no
    _bucket(store, proxy).write(key, b"second", is_new=True)
    assert objects.read(key) == b"first"


def test_the_start_check_reads_every_body(store: ObjectStore, proxy: StoreProxy) -> None:
    proxy.rule = lambda *_: No(403, page=LATIN)
    check = StoreCheck(replace(store, endpoint_url=proxy.url), limit_s=10)
    with pytest.raises(ServiceRefused) as refused:
        check.ask()
    assert refused.value.code == "AccessDenied"


def test_a_listing_that_is_not_continued_is_a_refusal(
    store: ObjectStore, proxy: StoreProxy
) -> None:
    # Given a store that answers the first portion of a listing again and again
    stored = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    item = f"<Contents><Key>{KEY}</Key>{stored}<Size>1</Size><ETag>x</ETag></Contents>"
    page = f"<R><Name>any</Name><IsTruncated>true</IsTruncated>{item}</R>"
    proxy.rule = lambda *_: No(200, page=page.encode())
    with pytest.raises(StoreRefused) as refused:
        list(islice(_bucket(store, proxy).documents(), 5))
    assert refused.value.code == "NOT_CONTINUED"


def test_the_deletion_of_a_missing_object_is_no_refusal(
    store: ObjectStore, proxy: StoreProxy
) -> None:
    answers = {"POST": No(501, "NotImplemented"), "DELETE": No(404, "NoSuchKey")}
    proxy.rule = lambda method, *_: answers.get(method)
    _bucket(store, proxy).delete([KEY, f"{KEY}2"])


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_probe_that_fails_leaves_no_object(
    store: ObjectStore, objects: Objects, proxy: StoreProxy, method: str
) -> None:
    proxy.rule = lambda sent, *_: No(403, "AccessDenied") if sent == method else None
    below = replace(store, endpoint_url=proxy.url, prefix=f"probed/{uuid4()}/")
    with pytest.raises(StoreRefused):
        Objects(below, max_connections=2).probe()

    client = store.client(store.endpoint_url)
    found = client.list_objects(store.bucket, prefix=below.prefix, recursive=True)
    assert list(found) == []
