"""Test the bucket: it takes only verified bytes, and serves them to requests with a valid URL."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from minio.error import S3Error

from dev.processes.deadline import until
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.objects.object_names import NAME_CAP, content_disposition, object_key
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import BLOCK_BYTES
from storage.objects.uploads import Upload

SINGLE = 12_345
# More than the store keeps in one piece.
LARGE = 16 * 1024 * 1024 + 4_321


def _upload(folder: Path, size_bytes: int, name: str = "Petição inicial") -> Upload:
    data = os.urandom(size_bytes)
    path = folder / str(uuid4())
    path.write_bytes(data)
    return Upload(
        source=path,
        key=f"tests/{path.name}.pdf",
        size_bytes=size_bytes,
        sha256=hashlib.sha256(data).hexdigest(),
        content_type="application/pdf",
        name=name,
    )


def _path(upload: Upload) -> Path:
    assert isinstance(upload.source, Path)
    return upload.source


def _stat(store: ObjectStore, key: str) -> int | None:
    try:
        return store.client(store.endpoint_url).stat_object(store.bucket, key).size
    except S3Error as error:
        if error.code != "NoSuchKey":
            raise
        return None


@pytest.mark.parametrize("size_bytes", [1, SINGLE, BLOCK_BYTES, BLOCK_BYTES + 1, LARGE])
def test_what_is_put_is_there_byte_by_byte(
    objects: Objects, tmp_path: Path, size_bytes: int
) -> None:
    upload = _upload(tmp_path, size_bytes)

    objects.put(upload)

    url, _ = objects.url(upload.key, lifetime_s=60)
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == upload.sha256
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == content_disposition("Petição inicial")
    assert answer.headers["x-amz-meta-sha256"] == upload.sha256


def test_putting_twice_is_putting_once(objects: Objects, tmp_path: Path) -> None:
    upload = _upload(tmp_path, SINGLE)

    objects.put(upload)
    objects.put(upload)

    assert objects.present({upload.key: SINGLE}) == {upload.key}


@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
def test_other_bytes_than_the_checked_ones_are_refused(
    objects: Objects, store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    # Given a file that was altered on the disk after its hash was taken, at the same length
    upload = _upload(tmp_path, size_bytes)
    with _path(upload).open("r+b") as file:
        file.seek(size_bytes // 2)
        file.write(b"\0altered\0")

    with pytest.raises(TransientError) as caught:
        objects.put(upload)

    assert caught.value.reason == "CORRUPT"
    assert _stat(store, upload.key) is None


@pytest.mark.parametrize("change_bytes", [-10, 10])
@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
def test_a_file_of_another_length_is_never_stored(
    objects: Objects, store: ObjectStore, tmp_path: Path, size_bytes: int, change_bytes: int
) -> None:
    # Given what a power cut may leave of a file that was never synced
    upload = _upload(tmp_path, size_bytes)
    os.truncate(_path(upload), size_bytes + change_bytes)

    with pytest.raises(TransientError) as caught:
        objects.put(upload)

    assert caught.value.reason == "CORRUPT"
    assert _stat(store, upload.key) is None


def test_an_upload_that_no_job_needs_any_more_is_cut(
    objects: Objects, store: ObjectStore, tmp_path: Path
) -> None:
    # Given a job that is cancelled when a quarter of its file is sent
    upload, blocks = _upload(tmp_path, LARGE), iter(range(LARGE // BLOCK_BYTES // 4))

    with pytest.raises(LeaseLost):
        objects.put(replace(upload, is_wanted=lambda: next(blocks, None) is not None))

    assert _stat(store, upload.key) is None
    # And the next upload is not affected by the bytes that were sent
    objects.put(upload)
    assert objects.present({upload.key: LARGE}) == {upload.key}


def test_a_missing_file_is_reported(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        objects.put(replace(_upload(tmp_path, 1), source=tmp_path / "gone"))


@pytest.mark.parametrize(
    "name",
    [
        *("a  b   c", ' "quoted" ', "per cent %41", "semi;colon, comma", "back\\slash"),
        *("文書" * 500, "\U0001f4c4" * 300, "é" * 1_000, "a/b/../c", "-", " ", "", "нет латиницы"),
    ],
)
def test_no_name_of_a_court_keeps_a_document_out(
    objects: Objects, tmp_path: Path, name: str
) -> None:
    assert _name_in_headers(objects, _upload(tmp_path, SINGLE, name)) == name[:NAME_CAP]


def test_the_name_of_a_large_document_is_kept(objects: Objects, tmp_path: Path) -> None:
    name = 'a  b "文書" %41; \\ é' * 10

    assert _name_in_headers(objects, _upload(tmp_path, LARGE, name)) == name[:NAME_CAP]


def _name_in_headers(objects: Objects, upload: Upload) -> str:
    objects.put(upload)
    url, _ = objects.url(upload.key, lifetime_s=60)
    with requests.get(url, timeout=60, stream=True) as answer:
        assert answer.status_code == 200
        return unquote(answer.headers["Content-Disposition"].rpartition("''")[2])


# Presence.


def test_only_what_is_there_in_its_size_is_present(objects: Objects, tmp_path: Path) -> None:
    uploads = [_upload(tmp_path, size) for size in range(1, 40)]
    for upload in uploads:
        objects.put(upload)
    sizes = {upload.key: upload.size_bytes for upload in uploads}
    wrong = uploads[3].key

    found = objects.present({**sizes, wrong: 999, "tests/never": 1})

    assert found == set(sizes) - {wrong}
    assert objects.present({}) == set()


def test_many_documents_of_a_case_are_found_by_listing_it(objects: Objects, tmp_path: Path) -> None:
    folder = "default/processos/00000000000000000001/documentos"
    uploads = [
        replace(_upload(tmp_path, size), key=f"{folder}/{uuid4()}/{size:016x}.pdf")
        for size in range(1, 40)
    ]
    for upload in uploads:
        objects.put(upload)
    sizes = {upload.key: upload.size_bytes for upload in uploads}
    wrong = uploads[3].key

    found = objects.present({**sizes, wrong: 999, f"{folder}/never.pdf": 1})

    assert found == set(sizes) - {wrong}


def test_listing_a_case_has_a_time_limit(store: ObjectStore) -> None:
    keys = {f"default/processos/0/documentos/{number}": 1 for number in range(40)}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        objects = Objects(replace(store, endpoint_url=endpoint), max_connections=1)

        with pytest.raises(ServiceUnavailable):
            objects.present(keys, limit_s=0.1)


def test_a_deletion_has_a_time_limit(store: ObjectStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = replace(store, endpoint_url=endpoint)
        objects = Objects(store, max_connections=1, delete_s=0.2)

        with pytest.raises(ServiceUnavailable):
            objects.delete(["a/key"])


def test_presence_has_a_time_limit(objects: Objects, store: ObjectStore) -> None:
    with pytest.raises(ServiceUnavailable):
        objects.present({f"tests/{index}": 1 for index in range(500)}, limit_s=0.001)


# URLs.


def test_a_url_expires_at_its_own_time(objects: Objects, tmp_path: Path) -> None:
    upload = _upload(tmp_path, SINGLE)
    objects.put(upload)

    # Long enough that even a busy machine sends its request before the end.
    url, expires = objects.url(upload.key, lifetime_s=6)
    assert requests.get(url, timeout=30).status_code == 200

    until(lambda: requests.get(url, timeout=30).status_code == 403, 60, "the URL does not end")
    assert datetime.now(UTC) >= expires


def test_a_url_is_good_for_its_object_and_for_reading_only(
    objects: Objects, tmp_path: Path
) -> None:
    first, second = _upload(tmp_path, 1), _upload(tmp_path, 1)
    objects.put(first)
    objects.put(second)
    url, _ = objects.url(first.key, lifetime_s=60)

    other = url.replace(first.key, second.key)
    assert other != url
    assert requests.get(other, timeout=60).status_code == 403
    assert requests.put(url, data=b"x", timeout=60).status_code == 403
    assert requests.delete(url, timeout=60).status_code == 403
    assert objects.present({first.key: 1}) == {first.key}


def test_a_url_names_the_public_host_and_hides_the_keys(store: ObjectStore) -> None:
    public = Objects(replace(store, public_url="https://files.example.org"), max_connections=1)

    url, _ = public.url("a/b.pdf", lifetime_s=60)

    assert urlsplit(url).netloc == "files.example.org"
    assert store.secret_access_key not in url
    assert store.secret_access_key not in repr(store)
    assert store.access_key_id not in repr(store)


# Outages.


class _FaultyIntermediary(BaseHTTPRequestHandler):
    """An intermediary in front of the store, with statuses and pages of its own."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = int(self.path.split("/")[2].split("-")[0])
        body = b"<html>try again later" if "html" in self.path else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.send_header("Retry-After", "600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_POST = do_GET = do_HEAD = do_DELETE = _answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def faulty_bucket(store: ObjectStore) -> Iterator[Objects]:
    """Yield a bucket behind an intermediary that answers with the status at the start of a key."""
    with HTTPServer(("127.0.0.1", 0), _FaultyIntermediary) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Objects(replace(store, endpoint_url=url), max_connections=2)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
@pytest.mark.parametrize("key", ["503-html", "503-empty", "502-html", "403-html", "413-html"])
def test_any_refusal_is_an_outage_and_no_bug(
    faulty_bucket: Objects, tmp_path: Path, size_bytes: int, key: str
) -> None:
    with pytest.raises(ServiceUnavailable, match="S3"):
        faulty_bucket.put(replace(_upload(tmp_path, size_bytes), key=key))


def test_an_unclear_answer_is_not_taken_for_absence(faulty_bucket: Objects) -> None:
    with pytest.raises(ServiceUnavailable):
        faulty_bucket.present({"503-empty": 1})
    with pytest.raises(ServiceUnavailable):
        faulty_bucket.present({"403-empty": 1})


@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
def test_a_store_that_is_away_is_unavailable(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    away = Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=1)

    with pytest.raises(ServiceUnavailable, match="S3"):
        away.put(_upload(tmp_path, size_bytes))
    with pytest.raises(ServiceUnavailable):
        away.present({"any": 1})
    with pytest.raises(ServiceUnavailable):
        away.ensure_bucket()


@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
def test_refused_keys_are_an_outage_and_show_nothing(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    wrong = Objects(replace(store, secret_access_key="planted-wrong-key"), max_connections=1)

    with pytest.raises(ServiceUnavailable) as caught:
        wrong.put(_upload(tmp_path, size_bytes))

    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("size_bytes", [SINGLE, LARGE])
def test_a_missing_bucket_is_an_outage(store: ObjectStore, tmp_path: Path, size_bytes: int) -> None:
    missing = Objects(replace(store, bucket="not-there"), max_connections=1)

    with pytest.raises(ServiceUnavailable):
        missing.put(_upload(tmp_path, size_bytes))
    assert missing.present({"any": 1}) == set()


def test_a_bucket_is_made_once(store: ObjectStore) -> None:
    new = Objects(replace(store, bucket=f"new-{uuid4()}"), max_connections=1)

    assert new.ensure_bucket() is True
    assert new.ensure_bucket() is False


# Keys and names.


def test_a_key_holds_case_document_and_hash() -> None:
    key = object_key(
        "default", "1003579-22.2025.8.26.0564", UUID(int=1), "0123456789abcdef" * 4, "pdf"
    )

    assert key == (
        "default/processos/10035792220258260564/documentos/"
        "00000000-0000-0000-0000-000000000001/0123456789abcdef.pdf"
    )


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=2 * NAME_CAP))
def test_a_disposition_is_a_safe_header_that_keeps_the_name(name: str) -> None:
    header = content_disposition(name)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "\\" not in header
    # Some stores fold them before they check the signature.
    assert "  " not in header
    assert header.startswith('attachment; filename="')
    assert unquote(header.rpartition("; filename*=UTF-8''")[2]) == name[:NAME_CAP]
    assert len(header) < 4_096
