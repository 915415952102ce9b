"""Test the command against a hostile server: it writes where the user said, and prints no marks."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from autos import pb
from autos.cli.exits import Exit
from autos.cli.main import main
from autos.cli.options import parser
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from tests.network.byte_server import ByteServer, answer

BODY = b"%PDF-1.7 a document"
JOB_ID = "3c4e47ff-d6e0-4ccd-8686-fe6a87b0b785"
NUMBER = "1003579-22.2025.8.26.0564"
# A cursor movement, a control of the C1 set, a right-to-left override, and a line break.
MARKS = "\x1b[2J\x9b1A\u202e\u2066\u200b\u2028\r\n"
OUTSIDE = ["../../x", "/tmp/x", "..", ".", "", "a/b", "~", "x\x00", f"../{NUMBER}", f"{NUMBER}\n"]


class HostileServer(pb_grpc.DownloadServiceServicer):
    """Answers with `job` and `documents`, whatever the request is."""

    def __init__(self, job: pb.Job, documents: Sequence[pb.Document] = (), url: str = "") -> None:
        self.job, self.listed, self.url = job, documents, url

    def GetStatus(self, _: Any, __: Any) -> pb.GetStatusResponse:  # noqa: N802
        return pb.GetStatusResponse(job=self.job)

    def ListJobs(self, _: Any, __: Any) -> pb.ListJobsResponse:  # noqa: N802
        return pb.ListJobsResponse(jobs=[self.job])

    def ListDocuments(self, _: Any, __: Any) -> pb.ListDocumentsResponse:  # noqa: N802
        return pb.ListDocumentsResponse(documents=self.listed)

    def GetDocumentUrl(self, _: Any, __: Any) -> pb.GetDocumentUrlResponse:  # noqa: N802
        return pb.GetDocumentUrlResponse(url=self.url)

    def CancelJob(self, _: Any, context: Any) -> pb.CancelJobResponse:  # noqa: N802
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no {MARKS} way")
        raise AssertionError

    def WatchProgress(self, _: Any, __: Any) -> Iterator[pb.WatchProgressResponse]:  # noqa: N802
        for document in self.listed:
            yield pb.WatchProgressResponse(document=document)
        yield pb.WatchProgressResponse(job=self.job)


@contextmanager
def _serving(server: HostileServer) -> Iterator[str]:
    running = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_DownloadServiceServicer_to_server(server, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop(0).wait()


def _document(name: str) -> pb.Document:
    return pb.Document(
        document_id=name,
        name=name,
        instance=name,
        state=pb.DOCUMENT_STATE_AVAILABLE,
        size_bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
        object_key=name,
    )


def _job(number: str = NUMBER) -> pb.Job:
    return pb.Job(job_id=JOB_ID, process_number=number, state=pb.JOB_STATE_COMPLETED)


def _written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", OUTSIDE)
def test_a_pull_makes_no_folder_from_an_answer_that_is_no_process_number(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current = tmp_path / "a" / "b" / "c"
    current.mkdir(parents=True)
    monkeypatch.chdir(current)
    server = HostileServer(_job(number), [_document("x")], "http://127.0.0.1:1/x")

    with _serving(server) as address:
        code = main(["pull", JOB_ID, "--address", address])

    assert code == Exit.SERVER_BUG
    assert "name the FOLDER" in capsys.readouterr().err
    assert not _written(tmp_path)
    assert not list(current.iterdir())


def test_a_pull_writes_private_files_below_the_folder_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "case"
    hostile = [_document(each) for each in ("../../x", "/etc/x", "..", f"a{MARKS}", "C:\\x")]
    hostile[0].unverified = True

    with ByteServer(lambda exchange: exchange.send(answer(BODY))) as bucket:
        server = HostileServer(_job("../../x"), hostile, f"http://127.0.0.1:{bucket.port}/x")
        with _serving(server) as address:
            code = main(["pull", JOB_ID, str(folder), "--address", address])

    files = _written(tmp_path)
    assert code == Exit.OK
    assert len(files) == len(hostile)
    assert {path.parent for path in files} == {folder}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    assert "0 documents not available, 1 unverified" in capsys.readouterr().err


COMMANDS = (
    ["status", JOB_ID],
    ["list"],
    ["documents", JOB_ID],
    ["watch", JOB_ID],
    ["wait", JOB_ID],
    ["url", JOB_ID, "x"],
    ["cancel", JOB_ID],
    ["pull", JOB_ID, "folder"],
    ["pull", JOB_ID, f"f{MARKS[:-2]}"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_nothing_that_is_printed_has_control_or_bidi_characters(
    command: list[str],
    form: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    job = pb.Job(
        job_id=f"j{MARKS}",
        process_number=f"n{MARKS}",
        state=pb.JOB_STATE_FAILED,
        error=pb.Error(reason=f"r{MARKS}", message=f"m{MARKS}"),
        hold=pb.Hold(reason=f"h{MARKS}"),
    )
    document = pb.Document(
        document_id=f"d{MARKS}",
        name=f"n{MARKS}",
        instance=f"i{MARKS}",
        state=pb.DOCUMENT_STATE_FAILED,
        error=pb.Error(reason=f"r{MARKS}", message=f"m{MARKS}"),
    )

    with _serving(HostileServer(job, [document], f"http://x/{MARKS}")) as address:
        main([*command, *form, "--address", address])

    printed = capsys.readouterr()
    lines = (printed.out + printed.err).split("\n")
    assert any(lines)
    assert not [line for line in lines for c in line if unicodedata.category(c) in ("Cc", "Cf")]
    assert not [line for line in lines if "\u2028" in line]
    if form and command[0] == "status":
        assert json.loads(printed.out)["process_number"] == f"n{MARKS}"


def test_messages_about_wrong_usage_have_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"no{MARKS}"])
    with pytest.raises(SystemExit):
        parser().parse_args(["status", "x", f"--more{MARKS}"])

    printed = capsys.readouterr().err
    assert "usage: autos" in printed
    assert not [c for c in printed.replace("\n", "") if not c.isprintable()]


def test_only_one_module_of_the_command_writes_to_the_terminal() -> None:
    command = Path(parser.__code__.co_filename).parent
    writers = [
        path.name
        for path in command.glob("*.py")
        if re.search(r"\bprint\(|\.write\(", path.read_text())
    ]

    assert writers == ["output.py"]
