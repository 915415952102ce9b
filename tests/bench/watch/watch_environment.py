"""Run a server process on real PostgreSQL and Valkey, its jobs, and the writer of changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psutil  # type: ignore[import-untyped]

from dev.embedded.embedded_servers import EMBEDDED, start_all
from dev.embedded.sandbox import ROOT
from dev.folder import DataFolder
from dev.processes.deadline import until
from dev.stack import is_serving
from server.access.add_client import new_webhook_secret
from storage.jobs.change_notifications import ChangePublisher
from storage.jobs.job_start import StartRequest
from storage.listings.listed_case import CaseListing, ListedDocument
from storage.listings.listing_import import ListingImport
from storage.objects import installation
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from tests.job_starts import start
from tests.sandbox.court_cases.cnj import process_number

CLIENT = "default"
DOCUMENTS = 10
READY_S = 60.0

_CHANGE_JOBS = """
UPDATE jobs SET revision = revision + 1, update_time = clock_timestamp()
WHERE job_id = ANY(%(ids)s) RETURNING job_id, revision
"""
_CHANGE_DOCUMENTS = """
UPDATE documents SET revision = changed.revision, attempt_count = attempt_count + 1
FROM unnest(%(ids)s::uuid[], %(revisions)s::bigint[]) AS changed(job_id, revision)
WHERE documents.job_id = changed.job_id AND position = changed.revision %% %(documents)s
"""


class Announcer:
    """Publishes change notifications as the product does, and the times of their commits."""

    def __init__(self, redis_url: str) -> None:
        self._wakeups = ChangePublisher(redis_url)
        self.committed = 0.0
        self.is_first = True

    def __call__(self, job_id: UUID, revision: int) -> None:
        """Publish a change that has been committed."""
        if self.is_first:
            self.is_first, self.committed = False, time.monotonic()
        self._wakeups.announce(job_id, revision)


@dataclass
class WatchEnvironment:
    """The running parts. `server` is the measured process."""

    address: str
    env: Mapping[str, str] = field(repr=False)
    database: Database
    announcer: Announcer
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    log: Path = Path(os.devnull)
    _own: int = 0
    _cases: int = 0

    @property
    def port(self) -> int:
        """Return the server's port on 127.0.0.1."""
        return int(self.address.rpartition(":")[2])

    @property
    def server(self) -> psutil.Process:
        """Return the server process that was started last."""
        return psutil.Process(self.servers[-1].pid)

    def start_server(self) -> float:
        """Start a server; return the seconds until it served."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "server"]
            self.servers.append(
                subprocess.Popen(command, env=dict(self.env), cwd=ROOT, stdout=log, stderr=log)
            )
        try:
            until(lambda: is_serving(self.address), READY_S, "No server:")
        except TimeoutError as error:
            # The log's folder does not outlive the bench.
            lines = self.log.read_text().splitlines()[-10:]
            raise TimeoutError("\n".join([str(error), *lines])) from None
        return time.monotonic() - begun

    def stop_server(self) -> float:
        """Stop the server as a restart would; return the seconds that it took."""
        server, begun = self.servers.pop(), time.monotonic()
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            server.kill()
            server.wait()
        return time.monotonic() - begun

    def add_jobs(self, count: int, documents: int = DOCUMENTS) -> list[UUID]:
        """Add running jobs of `documents` documents each, of cases that no other job has."""
        first = self._cases + 1
        self._cases += count
        return [self._add_job(process_number(first + i), documents) for i in range(count)]

    def _add_job(self, number: str, documents: int) -> UUID:
        wanted = StartRequest(CLIENT, number, None, None, 3_600, None)
        docket = ListingImport.of(CLIENT, number, _listing(documents))
        view, _ = start(self.database, wanted, job_deadline_s=86_400, listing=docket)
        return view.job.job_id

    def change(self, ids: Sequence[UUID]) -> tuple[float, dict[UUID, int]]:
        """Change a document of each job in one transaction, and publish the change.

        Return the monotonic time of the commit, and the jobs' revisions.
        """
        self.announcer.is_first = True
        self._own += 1
        with self.database.transaction() as transaction:
            rows = transaction.all(_CHANGE_JOBS, ids=list(ids))
            revisions = {row["job_id"]: int(row["revision"]) for row in rows}
            transaction.run(
                _CHANGE_DOCUMENTS,
                ids=list(revisions),
                revisions=list(revisions.values()),
                documents=DOCUMENTS,
            )
            for job_id, revision in revisions.items():
                transaction.changed(job_id, revision)
        return self.announcer.committed, revisions

    def transactions(self) -> int:
        """Return the number of the server's transactions as PostgreSQL counted it a second ago."""
        self._own += 1
        with self.database.transaction() as transaction:
            row = transaction.only(
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            )
        return int(row["xact_commit"]) - self._own


def _listing(documents: int) -> CaseListing:
    return CaseListing(
        0,
        tuple(
            ListedDocument(
                instance="1",
                origin_id=str(i),
                name=f"Decisão {i}.pdf",
                kind="Decisão interlocutória",
                sequence=i,
                filed_local_time="2025-03-01T10:00:00",
                secrecy_level="PUBLICO",
                hrefs=(f"/processos/1/documentos/{i}/binario",),
                listed_size_bytes=20_000,
                listed_content_type="application/pdf",
                refused_reason=None,
            )
            for i in range(documents)
        ),
    )


@contextmanager
def running_watch_environment(given: Mapping[str, str]) -> Iterator[WatchEnvironment]:
    """Run PostgreSQL, Valkey and a server in their own folder. `given`: settings of the server."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autos-watch-")))
        folder = stack.enter_context(closing(DataFolder(path)))
        kinds = {name: EMBEDDED[name] for name in ("postgres", "valkey")}
        servers = start_all(folder, {}, lambda _: None, kinds)
        stack.callback(servers.stop)
        port = folder.ports("server", ("server",))["server"]
        address = f"127.0.0.1:{port}"
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GRPC_LISTEN": address,
            # The server never calls it: no document is downloaded here.
            "S3_ENDPOINT_URL": "http://127.0.0.1:9",
            "S3_ACCESS_KEY_ID": "none",
            "S3_SECRET_ACCESS_KEY": "none",
            "PDPJ_TOKEN": "none",
            # All jobs belong to one client.
            "CLIENT_OPEN_WATCHES": "100000",
            "CLIENT_JOBS_AT_ONCE": "100000",
            "WEBHOOK_SECRET": new_webhook_secret(),
            "PYTHONUNBUFFERED": "1",
            **servers.env,
            **given,
        }
        announcer = Announcer(env["REDIS_URL"])
        database = Database(env["DATABASE_URL"], max_connections=4, on_change=announcer)
        stack.callback(database.close)
        migrate(database)
        # The server waits for the row that `release` writes last; this bench has no bucket.
        installation.ensure(database)
        environment = WatchEnvironment(address, env, database, announcer, log=path / "server.log")
        stack.callback(_end_all, environment.servers)
        environment.start_server()
        yield environment


def _end_all(servers: Sequence[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.kill()
        server.wait()
