"""Test the command `autos`: its JSON for scripts, its text for people, and its exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from autos.cli.main import main
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from tests.sandbox.court_cases.cnj import process_number
from tests.system.job_calls import documents, run, start, status
from tests.system.running_autos import Autos, free_port

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Said:
    """The exit code and the output of one command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """Return the output, parsed as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Command:
    """Runs `autos` in this process through main(), as the installed script does."""

    address: str
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> Said:
        code = main([*map(str, words), "--address", self.address])
        captured = self.capsys.readouterr()
        return Said(code, captured.out, captured.err)


@pytest.fixture
def command(autos: Autos, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(autos.stack.env["GRPC_LISTEN"], capsys)


@pytest.fixture(scope="module")
def ended(autos: Autos) -> Any:
    """Return an ended job of five documents, of which one failed."""
    return run(autos, autos.portal.add_case(documents=5, faults={3: "file-404"}))


def test_a_case_from_its_number_to_files(autos: Autos, command: Command, tmp_path: Path) -> None:
    number = autos.portal.add_case(documents=3)

    started = command("start", number, "--watch", "--priority", "high")
    job_id, *lines = started.out.splitlines()
    pulled = command("pull", job_id, tmp_path / "case")

    assert started.code == 0
    assert status(autos, job_id).priority == 1
    assert "3 of 3 documents" in lines[-1]
    assert "COMPLETED" in lines[-1]
    assert pulled.code == 0
    digests = {hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / "case").iterdir()}
    assert digests == {d.sha256 for d in documents(autos, status(autos, job_id))}


def test_a_look_then_a_choice_by_kind(autos: Autos, command: Command, tmp_path: Path) -> None:
    number = autos.portal.add_case(documents=3)

    look = command("start", number, "--list-only", "--label", "matter=of-this-test", "--wait")
    job_id = look.out.split()[0]
    listed = documents(autos, status(autos, job_id))
    kind = listed[1].kind.upper()
    chosen = command("start", number, "--kind", kind, "--since", "2000-01-01", "--wait", "--json")
    found = command("list", "--label", "matter=of-this-test", "--json").json

    assert (look.code, chosen.code) == (0, 0)
    assert "0 of 0 documents, 3 skipped" in command("status", job_id).out
    assert [job["job_id"] for job in found] == [job_id]
    [job] = [answer["job"] for answer in chosen.json]
    states = [each.state for each in documents(autos, status(autos, job["job_id"]))]
    wanted = [each.kind.upper() == kind for each in listed]
    assert [state == pb.DOCUMENT_STATE_AVAILABLE for state in states] == wanted
    assert command("pull", job["job_id"], tmp_path / "chosen").code == 0


def test_numbers_from_standard_input_start_as_one_batch(
    autos: Autos, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [autos.portal.add_case(documents=n) for n in (2, 3)]
    lines = f"{numbers[0]}\n\n 1 \n{numbers[1]}\n{numbers[0]}\n"

    def run_it(*words: str) -> Said:
        given = TextIOWrapper(BytesIO(lines.encode() + b"\xff\n"))
        monkeypatch.setattr(sys, "stdin", given)
        return command("start", "-", "--label", "of=batch", *words)

    shown = run_it("--watch")
    again = run_it("--wait", "--json")

    *started, last = shown.out.splitlines()
    assert [line.split()[1] for line in started[:3]] == [*numbers, numbers[0]]
    assert last.startswith("2 of 2 jobs ended, 5 documents, ")
    refused, wrong, told = shown.err.splitlines()
    assert refused.startswith("refused: 1: INVALID_REQUEST: process_number: ")
    assert wrong.startswith("refused: \N{REPLACEMENT CHARACTER}: INVALID_REQUEST: ")
    assert told.startswith("2 started, 1 joined, 2 refused  batches ")
    assert shown.code == 3
    batch_id = told.split()[-1]
    found = command("list", "--batch", batch_id, "--json").json
    assert {job["process_number"] for job in found} == {*numbers}
    assert {job["labels"]["of"] for job in found} == {"batch"}
    assert [line.get("error", {}).get("reason") for line in again.json] == [
        None,
        "INVALID_REQUEST",
        None,
        None,
        "INVALID_REQUEST",
    ]
    assert again.json[0]["process_number"] == numbers[0]


def test_every_command_speaks_the_contracts_json(
    autos: Autos, command: Command, ended: Any, tmp_path: Path
) -> None:
    listed = documents(autos, ended)
    stored = next(document for document in listed if document.sha256)

    [started] = command("start", ended.process_number, "--wait", "--json").json
    [told] = command("status", ended.job_id, "--json").json
    jobs = command("list", "--process-number", ended.process_number, "--json").json
    each = command("documents", ended.job_id, "--json").json
    [url] = command("url", ended.job_id, stored.document_id, "--json").json
    *changes, end = command("watch", ended.job_id, "--json").json
    files = command("pull", ended.job_id, tmp_path, "--json").json
    [cancelled] = command("cancel", ended.job_id, "--json").json
    [waited] = command("wait", ended.job_id, "--json").json

    assert started["job"]["state"] == "JOB_STATE_PARTIALLY_COMPLETED"
    assert told == end["job"] == cancelled == waited == as_json(ended)
    assert [job["job_id"] for job in jobs] == [started["job"]["job_id"], ended.job_id]
    assert each == [as_json(document) for document in listed]
    assert url["url"].startswith("http")
    assert {change["document"]["document_id"] for change in changes} == {
        document.document_id for document in listed
    }
    assert {file["document"]["document_id"] for file in files} == {
        document.document_id for document in listed if document.sha256
    }
    assert all(Path(file["path"]).exists() and file["is_new"] for file in files)


def test_a_receiver_is_tried(autos: Autos, command: Command) -> None:
    url = autos.receiver.url_of("/tried")
    autos.receiver.answer(status=403, path="/tried")

    refused = command("test-webhook", url)
    accepted = command("test-webhook", url, "--json")

    assert (refused.code, refused.out) == (1, "The receiver answered 403.\n")
    assert accepted.code == 0
    [attempt] = accepted.json
    assert (attempt["number"], attempt["status_code"]) == (1, 204)
    sent = autos.receiver.deliveries_at("/tried")
    assert [(each.is_verified, each.payload["type"]) for each in sent] == [
        (True, "webhook.test")
    ] * 2
    assert command("test-webhook", "ftp://x").code == 65


def test_text_output_has_the_same_facts(command: Command, ended: Any) -> None:
    said = command("status", ended.process_number)
    assert said.code == 0
    assert "4 of 5 documents, 1 failed" in said.out
    assert "NOT_FOUND" in command("documents", ended.job_id, "--state", "failed").out
    assert ended.job_id in command("list", "--limit", 500, "--state", "partially_completed").out
    assert "client    default\n" in command("usage").out
    watched = command("subscribe", ended.process_number, "--interval", 7200, "--list-only")
    assert watched.out.startswith(f"{ended.process_number}  every 2:00 h  next ")
    assert ended.process_number in command("subscriptions").out
    listed = {each["process_number"]: each for each in command("subscriptions", "--json").json}
    assert listed[ended.process_number]["list_only"]
    assert command("unsubscribe", ended.process_number).code == 0
    assert command("unsubscribe", ended.process_number).code == 66
    assert command("usage", "--json").json[0]["client"] == "default"
    watched = command("watch", ended.job_id)
    assert "failed: " in watched.out
    assert "PARTIALLY_COMPLETED" in watched.out.splitlines()[-1]


def test_the_end_of_a_job_is_the_exit_code(autos: Autos, command: Command, ended: Any) -> None:
    failed = start(autos, process_number(7_000_003)).job
    held = autos.portal.add_case(documents=1)
    autos.portal.hold(held)
    cancelled = start(autos, held).job

    assert command("watch", ended.job_id).code == 3
    assert command("wait", failed.job_id).code == 4
    assert command("wait", cancelled.job_id, "--deadline", "0.2").code == 75
    assert command("cancel", held).code == 0
    assert command("wait", cancelled.job_id).code == 5
    autos.portal.release(held)


def test_what_cannot_be_done_has_an_exit_code_and_a_sentence(
    command: Command, ended: Any, tmp_path: Path
) -> None:
    nobody, failed = uuid4(), "1003579-23.2025.8.26.0564"
    blocked = tmp_path / "file"
    blocked.touch()

    for words, code, sentence in (
        (("start", failed), 65, "the check digits must be 22, not 23"),
        (("status", nobody), 66, f"There is no job {nobody}"),
        (("redeliver", ended.job_id), 6, "no webhook"),
        (("pull", ended.job_id, blocked), 73, str(blocked)),
        (("status", nobody, "--ca-file", tmp_path / "no"), 78, "cannot be read: No such file"),
        (("status", nobody, "--token-file", tmp_path / "no"), 78, "--token-file"),
    ):
        said = command(*words)
        assert (said.code, said.out) == (code, ""), said
        assert sentence.lower() in said.err.lower()
        assert "Traceback" not in said.err


def test_an_error_is_json_too(command: Command) -> None:
    said = command("start", "1003579-23.2025.8.26.0564", "--json")

    error = json.loads(said.err)["error"]
    assert (said.code, said.out) == (65, "")
    assert (error["kind"], error["reason"]) == ("InvalidRequest", "INVALID_REQUEST")
    assert error["violations"].keys() == {"process_number"}


def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"

    code = main(["status", str(uuid4()), "--address", address, "--timeout", "2"])

    told = capsys.readouterr().err
    assert code == 69
    assert f"No answer from Autos at {address}" in told
    assert "Connection refused" in told
    assert "Is the server running there" in told


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["start"],
        ["sing"],
        ["watch", "x", "--deadline", "-1"],
        ["list", "--limit", "0"],
        ["start", "\udcff"],
        ["watch", "x", "--after-revision", "9" * 20],
    ],
)
def test_wrong_words_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2
    assert "usage: autos" in capsys.readouterr().err


def test_a_deadline_may_be_as_far_away_as_one_likes(command: Command, ended: Any) -> None:
    assert command("watch", ended.job_id, "--deadline", "1e300", "--patience", "1").code == 3


def test_a_screen_without_the_letters_of_a_name_breaks_nothing(autos: Autos) -> None:
    job = run(autos, "1011745-77.2025.8.11.0041")
    for words, letter in (([], "Peti??o"), (["--json"], "Petição")):
        with _started(
            autos, "documents", job.job_id, *words, stdout=subprocess.PIPE, encoding="ascii"
        ) as listing:
            told, _ = listing.communicate(timeout=DEADLINE_S)
        assert listing.returncode == 0
        assert letter in told


def _started(
    autos: Autos, *words: str, encoding: str = "utf-8", **streams: Any
) -> subprocess.Popen[str]:
    """Start the command in its own process; the environment carries the address."""
    env = {
        **os.environ,
        "AUTOS_ADDRESS": autos.stack.env["GRPC_LISTEN"],
        "TERM": "xterm",
        "PYTHONIOENCODING": encoding,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "autos", *words], cwd=ROOT, env=env, text=True, **streams
    )


def test_an_interrupted_command_prints_how_to_continue(autos: Autos) -> None:
    number = autos.portal.add_case(documents=1)
    autos.portal.hold(number)
    job = start(autos, number).job

    with _started(
        autos, "watch", number, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        assert watching.stdout
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, told = watching.communicate(timeout=DEADLINE_S)
    autos.portal.release(number)

    assert watching.returncode == 130
    assert told.strip() == (
        f"Interrupted. The job continues. Watch it again: autos watch {job.job_id}"
    )


def test_a_closed_pipe_ends_it_without_an_error_message(autos: Autos, ended: Any) -> None:
    read, write = os.pipe()
    os.close(read)

    with _started(
        autos, "documents", ended.job_id, stdout=write, stderr=subprocess.PIPE
    ) as listing:
        os.close(write)
        _, told = listing.communicate(timeout=DEADLINE_S)

    assert (listing.returncode, told) == (141, "")


def test_on_a_terminal_a_bar_moves(autos: Autos) -> None:
    number = autos.portal.add_case(documents=4, faults={2: "file-404"})
    autos.portal.hold(number)
    start(autos, number)
    autos.portal.wait_held(number, 4)
    shown: list[str] = []
    ours, theirs = pty.openpty()

    with _started(autos, "watch", number, stdout=theirs, stderr=subprocess.PIPE) as watching:
        os.close(theirs)
        reader = threading.Thread(target=lambda: shown.extend(_read(ours)))
        reader.start()
        until(lambda: "0/4" in "".join(shown), DEADLINE_S, "no bar")
        autos.portal.release(number)
        _, told = watching.communicate(timeout=DEADLINE_S)
        reader.join(DEADLINE_S)
    os.close(ours)

    screen = "".join(shown)
    assert (watching.returncode, told) == (3, "")
    assert "\x1b[" in screen
    assert "3/4" in screen
    assert "1 failed" in screen
    assert "PARTIALLY_COMPLETED" in screen
    assert "/s" in screen


def _read(terminal: int) -> Iterator[str]:
    while True:
        try:
            yield os.read(terminal, 65_536).decode(errors="replace")
        except OSError:  # The other side has closed the connection.
            return
