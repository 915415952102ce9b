"""Test the Procfile below a starter, which stops all lines when one ends, and without `release`."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.supervisor import read_procfile
from tests.acceptance.deploy.deployment import DEADLINE_S, fetch, new_installation, started
from tests.sandbox.portal import SandboxPortal

PROCESSES = [name for name in read_procfile(ROOT / "Procfile") if name != "release"]


@pytest.fixture
def env(
    servers: EmbeddedServers, portal: SandboxPortal, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return the environment of a new installation."""
    return new_installation(servers, portal, tmp_path_factory.mktemp("starter"))


def test_honcho_start_fetches_a_case_on_an_empty_database(
    env: dict[str, str], portal: SandboxPortal, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in env.items()))
    command = [sys.executable, "-m", "honcho", "-e", str(file), "start"]

    # Without any argument that names a process
    with started(command, {"PATH": env["PATH"]}) as honcho:
        job = fetch(env, portal.add_case(documents=3))
        lines = honcho.lines.copy()
        honcho.stop(signal.SIGTERM)

    assert job.state == pb.JOB_STATE_COMPLETED
    # No process had ended, and each reported the wait at most once.
    assert not [line for line in lines if "stopped (rc=" in line or "Traceback" in line]
    for name in PROCESSES:
        assert sum("waiting" in line for line in lines if f"{name}.1" in line) <= 1


def test_processes_wait_for_the_release_and_then_work(env: dict[str, str]) -> None:
    commands = read_procfile(ROOT / "Procfile")
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(started([sys.executable, *commands[name].split()[1:]], env))
            for name in PROCESSES
        }
        for program in programs.values():
            program.await_text("waiting")
        # One that is stopped while it waits ends at once, in order.
        assert programs.pop("notifier").stop(signal.SIGTERM) == 0

        release = stack.enter_context(started([sys.executable, "-m", "storage.release"], env))
        assert release.process.wait(DEADLINE_S) == 0

        for program in programs.values():
            program.await_text("the wait is over")
        programs["server"].await_text("serving")
        programs["scheduler"].await_text("scheduler running")
        codes = {name: program.stop(signal.SIGTERM) for name, program in programs.items()}

    for program in programs.values():
        assert sum("waiting" in line for line in program.lines) == 1
        assert "Traceback" not in program.text
    assert codes["server"] == 0
