"""Test that the supervisor restarts programs and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor, read_procfile
from tests.timing import quickest

# Prints its own id and its child's. {signals}: its reaction to SIGTERM.
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
{signals}
while True:
    signal.pause()
"""
OBEDIENT = [sys.executable, "-c", PARENT.format(signals="")]
STUBBORN = [
    sys.executable,
    "-c",
    PARENT.format(
        signals="signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    ),
]
Start = Callable[..., Supervisor]
BACK_S = 2.0
PATIENCE_S = 60.0


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def start(lines: list[str], tmp_path: Path) -> Iterator[Start]:
    started: list[Supervisor] = []

    def start_supervisor(*, grace_s: float = 5.0, **commands: str | list[str]) -> Supervisor:
        supervisor = Supervisor(commands, os.environ, tmp_path, lines.append, grace_s)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start_supervisor
    for supervisor in started:
        supervisor.stop()


def children_printed(lines: list[str]) -> list[int]:
    """Return the child ids that the parents have printed so far."""
    words = [line.removeprefix("parent | ") for line in lines]
    return [int(word) for word in words if word.isdigit()]


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_killed_program_is_back_within_two_seconds_and_that_is_logged(
    start: Start, lines: list[str]
) -> None:
    supervisor = start(parent=OBEDIENT)
    until(lambda: len(children_printed(lines)) == 1, PATIENCE_S, "no child")

    def back_s() -> float:
        first, before = supervisor.pid_of("parent"), len(children_printed(lines))
        assert first is not None
        begun = time.monotonic()
        os.kill(first, signal.SIGKILL)
        until(lambda: len(children_printed(lines)) > before, PATIENCE_S, "not back")
        assert supervisor.pid_of("parent") not in (first, None)
        return time.monotonic() - begun

    assert quickest(back_s, BACK_S) < BACK_S
    assert "autos | parent ended (SIGKILL); it is started again at once" in lines


def test_child_of_a_killed_program_is_killed_too(start: Start, lines: list[str]) -> None:
    supervisor = start(parent=OBEDIENT)
    until(lambda: len(children_printed(lines)) == 1, PATIENCE_S, "no child")
    pid = supervisor.pid_of("parent")
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    until(lambda: is_gone(children_printed(lines)[0]), PATIENCE_S, "the child is still there")


def test_stop_leaves_no_process_behind(start: Start, lines: list[str]) -> None:
    supervisor = start(parent=OBEDIENT)
    until(lambda: len(children_printed(lines)) == 1, PATIENCE_S, "no child")
    pid = supervisor.pid_of("parent")
    assert pid is not None

    supervisor.stop()

    assert is_gone(pid)
    until(lambda: is_gone(children_printed(lines)[0]), PATIENCE_S, "the child is still there")


def test_program_that_ignores_sigterm_is_killed_after_its_grace(
    start: Start, lines: list[str]
) -> None:
    supervisor = start(parent=STUBBORN, grace_s=0.2)
    until(lambda: "parent | deaf" in lines, PATIENCE_S, "it does not start")
    pid = supervisor.pid_of("parent")
    assert pid is not None

    supervisor.stop()

    assert is_gone(pid)


def test_program_that_keeps_ending_is_started_again_and_again_but_slower(
    start: Start, lines: list[str]
) -> None:
    start(broken=[sys.executable, "-c", "raise SystemExit(3)"])

    until(
        lambda: sum("broken ended (exit code 3)" in line for line in lines) == 3,
        PATIENCE_S,
        "no ends",
    )

    ends = [line.rsplit("again ", 1)[1] for line in lines if "broken ended" in line]
    assert ends[:3] == ["at once", "in 0.25 s", "in 0.5 s"]


def test_program_that_does_not_exist_is_reported_and_the_others_run(
    start: Start, lines: list[str]
) -> None:
    supervisor = start(missing="no-such-program", parent=OBEDIENT)

    until(lambda: len(children_printed(lines)) == 1, PATIENCE_S, "the other does not run")
    until(
        lambda: any("no-such-program could not be started" in line for line in lines),
        PATIENCE_S,
        "-",
    )
    assert supervisor.pid_of("parent") is not None


def test_held_program_stays_down_until_it_is_released(start: Start, lines: list[str]) -> None:
    supervisor = start(parent=OBEDIENT)
    until(lambda: len(children_printed(lines)) == 1, PATIENCE_S, "no child")

    supervisor.hold("parent")
    assert supervisor.pid_of("parent") is None
    supervisor.release("parent")

    until(lambda: len(children_printed(lines)) == 2, PATIENCE_S, "not released")


def test_output_is_passed_on_line_by_line_with_the_name(start: Start, lines: list[str]) -> None:
    start(speaker="sh -c 'echo one; echo two >&2; exec sleep 1000'")

    until(lambda: "speaker | two" in lines, PATIENCE_S, "nothing was passed on")

    assert lines == ["speaker | one", "speaker | two"]


def test_procfile_is_read_in_its_order_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "Procfile"
    file.write_text(
        "# production\nrelease: python -m storage.release\n\nserver: python -m server\n"
    )

    assert read_procfile(file) == {
        "release": "python -m storage.release",
        "server": "python -m server",
    }
