"""Test that processes forked by a master stop in order when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from storage.objects import installation
from storage.postgres.database import Database
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.system.running_processes import family

DEADLINE_S = 100.0
# Its broker writes a file for each process that stops in order.
PROGRAM = """
import os, pathlib, sys
import dramatiq
from dramatiq import cli
from actors.runtime.boot import ParentWatch
from dramatiq.brokers.redis import RedisBroker

class Witness(dramatiq.Middleware):
    def after_worker_boot(self, broker, worker):
        pathlib.Path(os.environ["WITNESS"], f"booted-{os.getpid()}").touch()
    def before_worker_shutdown(self, broker, worker):
        pathlib.Path(os.environ["WITNESS"], f"stopped-{os.getpid()}").touch()

def broker():
    made = RedisBroker(
        url=os.environ["REDIS_URL"], namespace="orphans", middleware=[ParentWatch(), Witness()]
    )
    dramatiq.set_broker(made)
    dramatiq.actor(broker=made, queue_name="orphans", actor_name="any")(print)

if __name__ == "__main__":
    arguments = ["master:broker", "--processes", "3", "--threads", "1", "--skip-logging"]
    sys.exit(cli.main(cli.make_argument_parser().parse_args(arguments)))
"""


@contextmanager
def _master(command: Sequence[str], env: dict[str, str]) -> Iterator[int]:
    """Run a process group; kill what is left of it afterwards."""
    started = subprocess.Popen(
        command,
        env={**env, "PATH": os.defpath},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def _is_gone(pid: int) -> bool:
    """Return True if a process has ended, also if no parent has waited for it yet."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def _kill_master(pid: int, forked: list[int]) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: all(map(_is_gone, forked)), DEADLINE_S, "They go on without their master.")


def test_forked_processes_stop_in_order_when_their_master_is_killed(
    redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "master.py").write_text(PROGRAM)
    env = {
        "REDIS_URL": redis_url,
        "WITNESS": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "proto"))),
    }
    with _master([sys.executable, str(tmp_path / "master.py")], env) as pid:
        until(lambda: len([*tmp_path.glob("booted-*")]) == 3, DEADLINE_S, "They do not boot.")
        forked = [int(file.name.partition("-")[2]) for file in tmp_path.glob("booted-*")]

        _kill_master(pid, forked)

    assert {file.name for file in tmp_path.glob("stopped-*")} == {f"stopped-{i}" for i in forked}


@pytest.mark.parametrize("role", ["worker", "uploader", "notifier"])
def test_every_role_watches_its_master(
    servers: EmbeddedServers,
    database: Database,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    role: str,
) -> None:
    installation.ensure(database)  # Otherwise the role waits for the release.
    env = {
        **servers.env,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "S3_BUCKET": "orphans",
        "DATA_DIR": str(tmp_path),
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "WORKER_PROCESSES": "2",
        "WORKER_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "proto"))),
    }
    with _master([sys.executable, "-m", "actors", role], env) as pid:
        expected = 2 if role == "worker" else 1
        until(lambda: len(family(pid)) == 1 + expected, DEADLINE_S, "They are not forked.")

        _kill_master(pid, family(pid)[1:])
