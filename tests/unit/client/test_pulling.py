"""Test downloads: a document in the folder is complete and correct, whatever the bucket does."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autos._client.fetching import SOCKET_TIMEOUT_S, Stopped
from autos._client.pulling import Pull
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import PullFailed, Unavailable
from autos.pulled import PulledFile
from tests.network.byte_server import INTERIM, ByteServer, Exchange, Script, answer, chunked

BODY = bytes(range(256)) * 4_000
SECRET = "X-Amz-Signature=planted-signature"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        self.server.requests_received.append((self.path, self.headers.get("Range", "")))
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        """Log nothing: these tests cut connections on purpose."""

    def give(self, body: bytes, status: int = 200, *, cut_at: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut_at])
        if cut_at is not None:
            self.close_connection = True

    def give_rest(self, body: bytes, *, cut_at: int | None = None) -> None:
        """Answer the requested Range, as S3 does."""
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.give(body[begin:], 206 if begin else 200, cut_at=cut_at)


class Bucket(ThreadingHTTPServer):
    """An HTTP server that gives the answers a test has set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answer: Callable[[_Answers], None] = lambda request: request.give_rest(BODY)
        self.requests_received: list[tuple[str, str]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Report nothing: these tests cut connections on purpose."""

    def mint(self, document: pb.Document) -> str:
        port = self.server_address[1]
        return f"http://127.0.0.1:{port}/{document.document_id}?{SECRET}"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _document(number: int = 1, body: bytes = BODY) -> pb.Document:
    return pb.Document(
        document_id=f"{number:08}-0000-5000-8000-000000000000",
        name="Petição",
        sequence=number,
        state=pb.DOCUMENT_STATE_AVAILABLE,
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        object_key="x.pdf",
    )


def _pull(bucket: Bucket, folder: Path, *documents: pb.Document, **fields: object) -> Pull:
    return Pull(documents or (_document(),), folder, bucket.mint, **fields)  # type: ignore[arg-type]


def _failure(pull: Pull) -> str:
    with pytest.raises(PullFailed) as caught:
        pull.run()
    [text] = caught.value.failures.values()
    assert SECRET not in text + str(caught.value)
    assert caught.value.__cause__ is None
    return text


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_document_is_in_its_file_and_nothing_else_is_left(bucket: Bucket, tmp_path: Path) -> None:
    seen: list[PulledFile] = []
    counted: list[int] = []
    folder = tmp_path / "new" / "folder"

    pulled = _pull(bucket, folder, on_file=seen.append, on_bytes=counted.append).run()

    assert pulled.files == (PulledFile(_document(), folder / "0001 Petição 00000001.pdf", True),)
    assert pulled.files[0].path.read_bytes() == BODY
    assert _names(folder) == ["0001 Petição 00000001.pdf"]
    assert seen == list(pulled.files)
    assert sum(counted) == len(BODY)


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(
    bucket: Bucket, tmp_path: Path
) -> None:
    documents = [_document(number) for number in (1, 2, 3)]
    first = _pull(bucket, tmp_path, *documents).run()
    bucket.requests_received.clear()
    first.files[1].path.write_bytes(BODY[:-1] + b"x")
    first.files[2].path.unlink()

    second = _pull(bucket, tmp_path, *documents).run()

    assert [file.is_new for file in second.files] == [False, True, True]
    assert len(bucket.requests_received) == 2
    assert all(file.path.read_bytes() == BODY for file in second.files)


def test_a_transfer_that_is_cut_goes_on_where_it_stopped(bucket: Bucket, tmp_path: Path) -> None:
    cuts = iter([300_000, 300_000])
    bucket.answer = lambda request: request.give_rest(BODY, cut_at=next(cuts, None))
    counted: list[int] = []

    [file] = _pull(bucket, tmp_path, on_bytes=counted.append).run().files

    assert file.path.read_bytes() == BODY
    assert [requests_received for _, requests_received in bucket.requests_received] == [
        "",
        "bytes=300000-",
        "bytes=600000-",
    ]
    assert sum(counted) == len(BODY)


def test_a_bucket_without_ranges_sends_all_of_it_again(bucket: Bucket, tmp_path: Path) -> None:
    cuts = iter([300_000])
    bucket.answer = lambda request: request.give(BODY, cut_at=next(cuts, None))
    counted: list[int] = []

    [file] = _pull(bucket, tmp_path, on_bytes=counted.append).run().files

    assert file.path.read_bytes() == BODY
    assert sum(counted) == len(BODY)


def test_an_expired_url_is_requested_anew(bucket: Bucket, tmp_path: Path) -> None:
    minted: list[str] = []

    def mint(document: pb.Document) -> str:
        minted.append(bucket.mint(document))
        return minted[-1]

    statuses = iter([403, 400])
    bucket.answer = lambda request: (
        request.give(b"Expired", status)
        if (status := next(statuses, 0))
        else request.give_rest(BODY)
    )

    [file] = Pull((_document(),), tmp_path, mint).run().files

    assert file.is_new
    assert len(minted) == 3


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "the bucket refuses it (HTTP 403)"), (404, "no longer in the bucket (HTTP 404)")],
)
def test_a_document_that_the_bucket_does_not_send_is_reported(
    bucket: Bucket, tmp_path: Path, status: int, message: str
) -> None:
    bucket.answer = lambda request: request.give(b"no", status)

    assert message in _failure(_pull(bucket, tmp_path))
    assert _names(tmp_path) == []


def test_a_busy_bucket_gets_another_request(bucket: Bucket, tmp_path: Path) -> None:
    statuses = iter([503, 500])
    bucket.answer = lambda request: (
        request.give(b"busy", status) if (status := next(statuses, 0)) else request.give_rest(BODY)
    )

    assert _pull(bucket, tmp_path).run().files[0].is_new


@pytest.mark.parametrize(
    ("body", "message"),
    [(BODY[:-1] + b"x", "SHA-256"), (BODY + b"x", "larger than what was stored")],
)
def test_other_bytes_never_get_the_name_and_the_others_are_fetched(
    bucket: Bucket, tmp_path: Path, body: bytes, message: str
) -> None:
    good, bad = _document(1), _document(2)
    bucket.answer = lambda request: request.give(BODY if "/00000001" in request.path else body)

    with pytest.raises(PullFailed) as caught:
        _pull(bucket, tmp_path, bad, good).run()

    assert message in caught.value.failures[bad.document_id]
    assert [file.document for file in caught.value.pulled.files] == [good]
    assert _names(tmp_path) == ["0001 Petição 00000001.pdf"]


def test_unavailable_documents_are_reported_and_not_requested(
    bucket: Bucket, tmp_path: Path
) -> None:
    failed = pb.Document(document_id="x", state=pb.DOCUMENT_STATE_FAILED)

    skipped = pb.Document(document_id="y", state=pb.DOCUMENT_STATE_SKIPPED)

    pulled = _pull(bucket, tmp_path, failed, skipped).run()

    # What the job does not want is not missing.
    assert (pulled.files, pulled.missing) == ((), (failed,))
    assert bucket.requests_received == []


def test_several_downloads_run_at_once_up_to_the_requested_number(
    bucket: Bucket, tmp_path: Path
) -> None:
    together = threading.Barrier(3, timeout=60)

    def answer(request: _Answers) -> None:
        together.wait()
        request.give_rest(BODY)

    bucket.answer = answer
    documents = [_document(number) for number in range(1, 7)]

    pulled = _pull(bucket, tmp_path, *documents, parallel=3).run()

    assert [file.document for file in pulled.files] == documents


def test_an_interrupted_download_leaves_no_half_file(bucket: Bucket, tmp_path: Path) -> None:
    stop = threading.Event()
    counted: list[int] = []

    def on_bytes(count: int) -> None:
        counted.append(count)
        stop.set()

    with pytest.raises(Stopped):
        _pull(bucket, tmp_path, on_bytes=on_bytes, stop=stop).run()

    assert sum(counted) < len(BODY)
    assert _names(tmp_path) == []


def test_a_server_that_gives_no_urls_ends_it_with_its_own_error(
    bucket: Bucket, tmp_path: Path
) -> None:
    def mint(document: pb.Document) -> str:
        raise Unavailable("away")

    with pytest.raises(Unavailable, match="away"):
        Pull([_document(number) for number in range(1, 9)], tmp_path, mint).run()

    assert _names(tmp_path) == []


def test_what_ends_a_pull_ends_the_transfers_beside_it(bucket: Bucket, tmp_path: Path) -> None:
    endless, other = _document(1), _document(2)
    endless.size_bytes = 10**12
    flows, has_ended = threading.Event(), threading.Event()

    def drip(request: _Answers) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(endless.size_bytes))
        request.end_headers()
        try:
            while not has_ended.wait(0.001):
                request.wfile.write(b"x" * 1_000)
                flows.set()
        except OSError:
            has_ended.set()

    def mint(document: pb.Document) -> str:
        if document == other:
            flows.wait(60)
            raise Unavailable("away")
        return bucket.mint(document)

    bucket.answer = drip
    with pytest.raises(Unavailable, match="away"):
        Pull((endless, other), tmp_path, mint).run()

    assert has_ended.wait(60)
    assert _names(tmp_path) == []


def test_what_a_killed_pull_left_is_removed_when_it_is_old(bucket: Bucket, tmp_path: Path) -> None:
    old, new = tmp_path / ".autos-1.part", tmp_path / ".autos-2.part"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))

    _pull(bucket, tmp_path).run()

    assert not old.exists()
    assert new.exists()


def test_a_url_that_leads_to_a_file_of_this_machine_is_no_url(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    pull = Pull((_document(),), tmp_path / "folder", lambda _: secret.as_uri())

    assert "its URL is neither https nor http" in _failure(pull)


@pytest.mark.parametrize("before", INTERIM.values(), ids=list(INTERIM))
def test_interim_answers_of_the_bucket_are_passed_over(before: bytes, tmp_path: Path) -> None:
    # Given a bucket that truncates the first answer, and sends more than requested after the rest
    cut = len(BODY) // 2

    def script(exchange: Exchange) -> None:
        if b"\r\nRange: " in exchange.request.head:
            rest = answer(BODY[cut:], status="206 Partial Content")
            exchange.send(before + rest + answer(b"x" * 1_000))
        else:
            exchange.send(before + answer(BODY)[: cut - len(BODY)])
        exchange.close()

    with ByteServer(script) as server:
        pulled = Pull(
            (_document(),), tmp_path, lambda document: f"{server.url}/{document.document_id}"
        ).run()

    assert [file.path.read_bytes() for file in pulled.files] == [BODY]
    assert len(server.requests) == 2


def _pulled(script: Script, folder: Path) -> bytes:
    with ByteServer(script) as server:
        pulled = Pull(
            (_document(),), folder, lambda document: f"{server.url}/{document.document_id}"
        ).run()
    return pulled.files[0].path.read_bytes()


def test_an_answer_that_ends_behind_the_last_byte_costs_nothing(tmp_path: Path) -> None:
    # Given a bucket with an answer that has all bytes of the document, but not its own end
    requests = []

    def script(exchange: Exchange) -> None:
        requests.append(exchange.request)
        exchange.send(chunked(BODY).removesuffix(b"0\r\n\r\n"))
        exchange.close()

    assert _pulled(script, tmp_path) == BODY
    assert len(requests) == 1


@pytest.mark.parametrize(
    "field", ["Content-Length: {0}, {0}", "Content-Length: x", "Transfer-Encoding: identity"]
)
def test_an_answer_without_a_readable_length_ends_with_the_document(
    field: str, tmp_path: Path
) -> None:
    # Given a bucket that keeps the connection open, less long than a read may take
    has_ended, saw_end = threading.Event(), []

    def script(exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\n{field.format(len(BODY))}\r\n\r\n"
        exchange.send(head.encode() + BODY)
        saw_end.append(has_ended.wait(SOCKET_TIMEOUT_S - 5))
        exchange.close()

    with ByteServer(script) as server:
        files = Pull((_document(),), tmp_path, lambda _: f"{server.url}/").run().files
        has_ended.set()
    assert files[0].path.read_bytes() == BODY
    assert saw_end == [True]


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "//[bad/x", "javascript:1"]
)
def test_a_redirect_to_another_scheme_is_not_followed(target: str, tmp_path: Path) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(answer(b"", f"Location: {target}", status="302 Found"))

    with ByteServer(script) as server:
        text = _failure(Pull((_document(),), tmp_path, lambda _: f"{server.url}/?{SECRET}"))
        assert "redirects" in text
        assert len(server.requests) == 1


def test_a_redirect_within_the_store_is_followed(tmp_path: Path) -> None:
    def script(exchange: Exchange) -> None:
        is_first = exchange.request.path == "/"
        moved = answer(b"", "Location: /moved", status="307 Temporary Redirect")
        exchange.send(moved if is_first else answer(BODY))

    assert _pulled(script, tmp_path) == BODY


@pytest.mark.parametrize("begin", [0, 7])
def test_a_part_from_another_offset_than_requested_is_not_appended(
    begin: int, tmp_path: Path
) -> None:
    cut = len(BODY) // 2

    def script(exchange: Exchange) -> None:
        if exchange.number == 2:
            ranged = f"Content-Range: bytes {begin}-{len(BODY) - 1}/{len(BODY)}"
            exchange.send(answer(BODY[begin:], ranged, status="206 Partial Content"))
        elif exchange.number == 3:
            exchange.send(answer(BODY[cut:], status="206 Partial Content"))
        else:
            exchange.send(answer(BODY)[: cut - len(BODY)])
        exchange.close()

    assert _pulled(script, tmp_path) == BODY


@pytest.mark.parametrize("refused", [None, "412 Precondition Failed", "416 Range Not Satisfiable"])
def test_a_transfer_whose_parts_do_not_belong_together_begins_anew_once(
    refused: str | None, tmp_path: Path
) -> None:
    # Given a first answer that is a page of a proxy
    def script(exchange: Exchange) -> None:
        begin = exchange.request.head.partition(b"Range: bytes=")[2].partition(b"-")[0]
        rest = answer(
            BODY[int(begin or b"0") :], status="206 Partial Content" if begin else "200 OK"
        )
        if begin and refused:
            rest = answer(b"", status=refused)
        exchange.send(answer(b"<html>" * 9) if exchange.number == 1 else rest)
        exchange.close()

    with ByteServer(script) as server:
        document = _document()
        pulled = Pull([document], tmp_path, lambda _: f"{server.url}/?{SECRET}").run()

    assert [file.path.read_bytes() for file in pulled.files] == [BODY]
    assert len(server.requests) == 3
