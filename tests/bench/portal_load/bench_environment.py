"""Run the real servers and processes, and jobs of several clients."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import grpc

from actors.hints.hint_channel import HintSender, make_client
from actors.hints.hints import JobWanted
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.stack import running_stack
from storage.errors import ConfigurationError
from storage.jobs.job_start import StartRequest
from storage.postgres.database import Database
from storage.scheduling import scheduler_readings
from storage.scheduling.scheduler_readings import job_row
from storage.settings import Settings
from tests.bench.portal_load.portal_process import TOKEN, RemotePortal, running_portal
from tests.bench.traffic.journal_figures import MeasuredJob
from tests.job_starts import start
from tests.sandbox.court_cases.cnj import process_number

# A caller of StartDownload has this client name.
CALLER = "default"
CLIENTS = (CALLER, "alfa", "bravo", "charlie", "delta")
COURTS = ("8.26", "8.19", "8.13", "5.02", "4.03")
SIZE_BYTES = 20_000
LAST_LINES = 30

_JOBS = """
SELECT client, process_number, state, total_documents, extract(epoch FROM create_time) AS start,
    extract(epoch FROM end_time) AS end,
    (SELECT jsonb_agg(jsonb_build_array(hrefs[1], attempt_count)) FROM documents
     WHERE documents.job_id = jobs.job_id) AS attempts
FROM jobs WHERE job_id = ANY(%(ids)s) ORDER BY create_time
"""


@dataclass
class BenchEnvironment:
    """The processes and servers of the bench."""

    portal: RemotePortal
    settings: Settings
    database: Database
    _api: pb_grpc.DownloadServiceStub
    _hints: HintSender
    lines: list[str]
    # The number of documents of each case, by its number.
    documents: dict[str, int] = field(default_factory=dict)
    _sequence: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, client: str, number: str) -> UUID:
        """Start a job of a client, by StartDownload or by the function that it calls."""
        if client == CALLER:
            request = pb.StartDownloadRequest(process_number=number)
            job_id = UUID(self._api.StartDownload(request, timeout=30).job.job_id)
        else:
            wanted = StartRequest(client, number, None, None, 3_600, None)
            view, _ = start(self.database, wanted, job_deadline_s=self.settings.job_deadline_s)
            job_id = view.job.job_id
            if row := scheduler_readings.read_job(self.database, job_id):
                self._hints.send(JobWanted(job_row(row)))
        return job_id

    def add_case(self, court: str, documents: int) -> str:
        """Add a case to the portal and return its number."""
        number = process_number(next(self._sequence), 2025, court)
        self.portal.add_case(number, documents, SIZE_BYTES)
        self.documents[number] = documents
        return number

    def await_ends(self, ids: Sequence[UUID], timeout_s: float) -> None:
        """Return when all jobs have ended, or at the deadline."""
        deadline = time.monotonic() + timeout_s
        while self._running(ids) and time.monotonic() < deadline:
            # Rarely, because the measured processes share the machine.
            time.sleep(0.3)

    def _running(self, ids: Sequence[UUID]) -> bool:
        with self.database.transaction() as transaction:
            row = transaction.only(
                "SELECT EXISTS (SELECT FROM jobs WHERE job_id = ANY(%(ids)s)"
                " AND end_time IS NULL) AS any",
                ids=list(ids),
            )
        return bool(row["any"])

    def jobs(self, ids: Sequence[UUID]) -> list[MeasuredJob]:
        """Return the current state of the jobs."""
        with self.database.transaction() as transaction:
            rows = transaction.all(_JOBS, ids=list(ids))
        return [
            MeasuredJob(
                client=row["client"],
                number=row["process_number"],
                documents=row["total_documents"] or 0,
                start=float(row["start"]),
                end=None if row["end"] is None else float(row["end"]),
                state=row["state"],
                attempts={_uuid_of(href): count for href, count in row["attempts"] or ()},
            )
            for row in rows
        ]


def _uuid_of(href: str) -> str:
    """Return the portal's UUID in the link of a document."""
    return href.partition("/documentos/")[2].partition("/")[0].lower()


@contextmanager
def _summary(lines: list[str]) -> Iterator[None]:
    """Print the reason if a process could not start."""
    try:
        yield
    except ConfigurationError:
        print(*lines[-LAST_LINES:], sep="\n", file=sys.stderr)
        raise


@contextmanager
def running_bench_environment(given: Mapping[str, str]) -> Iterator[BenchEnvironment]:
    """Run everything in its own folder, and stop it at the end. `given`: additional settings."""
    lines: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="autos-bench-") as folder,
        running_portal(lines.append) as portal,
    ):
        env = {
            "DATA_DIR": folder,
            "GRPC_LISTEN": "127.0.0.1:0",
            "PDPJ_BASE_URL": portal.url,
            "PDPJ_TOKEN": TOKEN,
            "LOG_FORMAT": "json",
            "HOME": str(Path.home()),
            **given,
        }
        with (
            _summary(lines),
            running_stack(env, lines.append, is_announced=False) as stack,
            grpc.insecure_channel(stack.run_file.address) as channel,
            closing(Database(stack.env["DATABASE_URL"], max_connections=4)) as database,
        ):
            settings = Settings.from_env(stack.env)
            hints = HintSender(make_client(settings.redis_url))
            stub = pb_grpc.DownloadServiceStub(channel)
            yield BenchEnvironment(portal, settings, database, stub, hints, lines)
