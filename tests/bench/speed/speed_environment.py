"""Run Autos with limits at the portal that never matter, on embedded servers."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from minio import Minio

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.stack import Stack, running_stack
from storage.errors import ConfigurationError
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database
from storage.settings import Settings
from tests.bench.portal_load.portal_process import TOKEN
from tests.sandbox.court_cases.cnj import process_number
from tests.system.running_processes import family

COURT = "8.26"
# More slots than threads; not many more, since every claim counts the slots.
AT_ONCE = "100"
CALL_S = 30.0
POLL_S = 0.05
LAST_LINES = 30
WORKERS_S = 60.0
# The leading scheduler reads workers and slots once in this time.
SCHEDULER_READS_S = 1.0
# PostgreSQL with its defaults, so that acknowledged data is on the disk.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
SERVERS = ("postgres", "valkey", "s3")


@dataclass(frozen=True)
class SpeedEnvironment:
    """The processes and servers of a bench."""

    stack: Stack
    settings: Settings
    database: Database
    api: pb_grpc.DownloadServiceStub
    bucket: Minio
    folder: Path
    lines: list[str]
    _sequence: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new_number(self, *, documents: int = 100) -> str:
        """Return the number of a new case with `documents` documents.

        All belong to one court, since most of a user's cases do. The waiting portal reads the
        number of documents from the case number.
        """
        return process_number(next(self._sequence), 2025, COURT, f"{documents:04d}")

    def run_jobs(self, numbers: Sequence[str], *, timeout_s: float) -> float:
        """Return the seconds from the first StartDownload to the end of the last of these jobs."""
        begun = time.time()
        return self.await_ends([self.start(number) for number in numbers], timeout_s) - begun

    def start(self, number: str) -> UUID:
        """Call StartDownload and return the job."""
        request = pb.StartDownloadRequest(process_number=number)
        return UUID(self.api.StartDownload(request, timeout=CALL_S).job.job_id)

    def await_ends(self, ids: Sequence[UUID], timeout_s: float) -> float:
        """Return the end of the last job, in seconds since 1970.

        Raises TimeoutError, or AssertionError if a job did not end COMPLETED.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            row = self.only(
                "SELECT count(*) FILTER (WHERE end_time IS NULL) AS running,"
                " count(*) FILTER (WHERE state = 'COMPLETED') AS completed,"
                " extract(epoch FROM max(end_time)) AS ended"
                " FROM jobs WHERE job_id = ANY(%(ids)s)",
                ids=list(ids),
            )
            if not row["running"]:
                assert row["completed"] == len(ids), f"{row['completed']} of {len(ids)} COMPLETED"
                return float(row["ended"])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{row['running']} of {len(ids)} jobs did not end.")
            # Rarely, because the measured processes share the machine.
            time.sleep(POLL_S)

    def only(self, sql: str, **values: Any) -> dict[str, Any]:
        """Return the one row of a query."""
        with self.database.transaction() as transaction:
            return dict(transaction.only(sql, **values))

    def all(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with self.database.transaction() as transaction:
            return [dict(row) for row in transaction.all(sql, **values)]

    @property
    def address(self) -> str:
        """Return host:port of the server."""
        return self.stack.run_file.address

    @property
    def our_pids(self) -> list[int]:
        """Return the leaders of the Procfile's processes."""
        processes = self.stack.processes
        return [pid for name in processes.names if (pid := processes.pid_of(name))]

    def server_pids(self) -> dict[str, list[int]]:
        """Return the embedded servers, by name."""
        servers = self.stack.servers
        return {name: [pid for pid in [servers.pid_of(name)] if pid] for name in SERVERS}

    def worker_pids(self, name: str) -> list[int]:
        """Return Dramatiq's worker processes of a line of the Procfile."""
        leader = self.stack.processes.pid_of(name)
        return [pid for pid in family(leader)[1:] if _is_dramatiq(pid)] if leader else []

    def await_scheduler(self) -> None:
        """Return when a scheduler leads and has read that every worker process lives.

        Processes that were stopped for a while have lost their leases when they go on.
        """
        until(self._has_scheduler, WORKERS_S, "No scheduler leads.")
        time.sleep(SCHEDULER_READS_S)

    def _has_scheduler(self) -> bool:
        row = self.only(
            "SELECT EXISTS (SELECT FROM leader WHERE lease_until > clock_timestamp()"
            "   AND sends_time > clock_timestamp() - interval '1 second') AS has_leader,"
            " (SELECT count(*) FROM workers"
            "   WHERE heartbeat_time > clock_timestamp() - interval '1 second') AS workers"
        )
        return bool(row["has_leader"]) and row["workers"] >= self.settings.worker_processes

    def await_workers(self, name: str, count: int) -> None:
        """Return when `count` worker processes of a line of the Procfile run."""
        until(lambda: len(self.worker_pids(name)) >= count, WORKERS_S, f"{name} does not work.")


def _is_dramatiq(pid: int) -> bool:
    """Return True for a worker, False for a helper of multiprocessing, which uses little memory."""
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return threads > 3


@contextmanager
def frozen(leaders: Sequence[int]) -> Iterator[None]:
    """Suspend these processes and their descendants inside the block, so that they use no CPU."""
    pids = [pid for leader in leaders for pid in family(leader)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder on the disk on which `make run` keeps its data.

    The cost of a new file depends on its place: some file systems scan all inodes that were freed
    lately near its folder, and a system's folder for temporary files has many.
    """
    (ROOT / "var").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "var") as folder:
        yield Path(folder)


@contextmanager
def running_environment(
    portal_url: str, *, procfile: Path = ROOT / "Procfile", **given: str
) -> Iterator[SpeedEnvironment]:
    """Run everything in its own folder, and stop it at the end. `given`: additional settings."""
    lines: list[str] = []
    with scratch() as folder:
        env = {
            "DATA_DIR": str(folder),
            "GRPC_LISTEN": "127.0.0.1:0",
            "PDPJ_BASE_URL": portal_url,
            "PDPJ_TOKEN": TOKEN,
            "PDPJ_MAX_CONCURRENT": AT_ONCE,
            "PDPJ_MAX_CONCURRENT_PER_COURT": AT_ONCE,
            "CLIENT_JOBS_AT_ONCE": "1000000",
            "CLIENT_STARTS_PER_MINUTE": "1000000",
            "WORKER_PROCESSES": "2",
            "LOG_FORMAT": "json",
            "HOME": str(Path.home()),
            **given,
        }
        with (
            _summary(lines),
            running_stack(env, lines.append, procfile, is_announced=False) as stack,
            grpc.insecure_channel(stack.run_file.address) as channel,
            closing(Database(stack.env["DATABASE_URL"], max_connections=4)) as database,
        ):
            settings = Settings.from_env(stack.env)
            store = ObjectStore.of(settings)
            stage = SpeedEnvironment(
                stack,
                settings,
                database,
                pb_grpc.DownloadServiceStub(channel),
                store.client(store.endpoint_url),
                folder,
                lines,
            )
            _check_durable(stage)
            if "worker" in stack.processes.names:
                stage.await_workers("worker", settings.worker_processes)
            stage.await_workers("uploader", 1)
            yield stage


def _check_durable(stage: SpeedEnvironment) -> None:
    """Raise AssertionError if PostgreSQL has less durable settings than its defaults."""
    found = {name: stage.only(f"SHOW {name}")[name] for name in DURABLE}
    assert found == DURABLE, found


@contextmanager
def _summary(lines: list[str]) -> Iterator[None]:
    """Print the reason if a process could not start."""
    try:
        yield
    except ConfigurationError:
        print(*lines[-LAST_LINES:], sep="\n", file=sys.stderr)
        raise
