"""Readings for watchers: they run on the pool, one reading for all concurrent requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from server.messages import message_of, serialize_document, shown
from server.runtime.fair_executor import RunBlocking
from server.runtime.request_coalescer import RequestCoalescer
from server.watch.feed import Change
from storage.errors import NotFound
from storage.jobs import job_queries, watch_queries
from storage.postgres.database import Database

# The client and the process number.
Case = tuple[str, str]


class OwnedJob(NamedTuple):
    """A job and the name of its client."""

    client: str
    job: pb.Job


class WatchReader:
    """Reads the rows behind all feeds. Raises ServiceUnavailable if PostgreSQL is unavailable."""

    def __init__(self, database: Database, run: RunBlocking) -> None:
        self._database = database
        self._run = run
        self._newest: RequestCoalescer[Case, UUID] = RequestCoalescer(self._read_newest)
        self._jobs: RequestCoalescer[UUID, OwnedJob] = RequestCoalescer(self._read_jobs)

    async def job(self, client: str, target: UUID | str) -> pb.Job:
        """Return a current job of `client`; for a process number, the newest. Raises NotFound."""
        job_id = target if isinstance(target, UUID) else await self._newest.get((client, target))
        found = await self._jobs.get(job_id) if job_id else None
        if found is None or found.client != client:
            raise NotFound("job", str(target))
        return found.job

    async def changes(self, after: Mapping[UUID, int]) -> Mapping[UUID, Change]:
        """Return each job of `after` with its documents that changed after the given revision."""
        found: Mapping[UUID, Change] = await self._run(_changes, self._database, after)
        return found

    async def revisions(self, job_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """Return the current revisions of these jobs."""
        found: Mapping[UUID, int] = await self._run(
            job_queries.revisions, self._database, list(job_ids)
        )
        return found

    async def _read_jobs(self, job_ids: Collection[UUID]) -> Mapping[UUID, OwnedJob]:
        found: Mapping[UUID, OwnedJob] = await self._run(_owned, self._database, job_ids)
        return found

    async def _read_newest(self, cases: Collection[Case]) -> Mapping[Case, UUID]:
        found: Mapping[Case, UUID] = await self._run(watch_queries.newest, self._database, cases)
        return found


def _owned(database: Database, job_ids: Collection[UUID]) -> Mapping[UUID, OwnedJob]:
    with database.transaction() as transaction:
        views = job_queries.views(transaction, job_ids)
    return {i: OwnedJob(view.job.client, message_of(view)) for i, view in views.items()}


def _changes(database: Database, after: Mapping[UUID, int]) -> Mapping[UUID, Change]:
    return {
        job_id: Change(
            message_of(watched.view),
            [
                serialize_document(shown(document, watched.view.job.secrecy_level))
                for document in watched.documents
            ],
        )
        for job_id, watched in watch_queries.read_changes(database, after).items()
    }
