"""Readings for watchers. They run on the thread pool; concurrent requests share one reading."""

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
from storage.jobs.watch_queries import WatchedJob
from storage.postgres.database import Database

# The client and the process number.
Case = tuple[str, str]


class Opening(NamedTuple):
    """The first reading for a watcher of a job without a feed: the changes after a revision."""

    client: str
    job_id: UUID
    after_revision: int


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
        self._openings: RequestCoalescer[Opening, Change] = RequestCoalescer(self._read_openings)

    async def job(self, client: str, target: UUID | str) -> pb.Job:
        """Return a current job of `client`; for a process number, the newest. Raises NotFound."""
        job_id = await self.id_of(client, target)
        found = await self._jobs.get(job_id)
        if found is None or found.client != client:
            raise NotFound("job", str(target))
        return found.job

    async def id_of(self, client: str, target: UUID | str) -> UUID:
        """Return the id of a job: for a process number, of the newest of `client`.

        Raises NotFound for a case without a job.
        """
        if isinstance(target, UUID):
            return target
        job_id = await self._newest.get((client, target))
        if job_id is None:
            raise NotFound("job", target)
        return job_id

    async def opening(self, opening: Opening) -> Change:
        """Return a job of a client, and its documents that changed. Raises NotFound."""
        found = await self._openings.get(opening)
        if found is None:
            raise NotFound("job", str(opening.job_id))
        return found

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

    async def _read_openings(self, requested: Collection[Opening]) -> Mapping[Opening, Change]:
        found: Mapping[Opening, Change] = await self._run(_opened, self._database, requested)
        return found

    async def _read_jobs(self, job_ids: Collection[UUID]) -> Mapping[UUID, OwnedJob]:
        found: Mapping[UUID, OwnedJob] = await self._run(_owned, self._database, job_ids)
        return found

    async def _read_newest(self, cases: Collection[Case]) -> Mapping[Case, UUID]:
        found: Mapping[Case, UUID] = await self._run(watch_queries.newest, self._database, cases)
        return found


def _owned(database: Database, job_ids: Collection[UUID]) -> Mapping[UUID, OwnedJob]:
    with database.snapshot() as transaction:
        views = job_queries.views(transaction, job_ids)
    return {i: OwnedJob(view.job.client, message_of(view)) for i, view in views.items()}


def _opened(database: Database, requested: Collection[Opening]) -> Mapping[Opening, Change]:
    found: dict[Opening, Change] = {}
    # Two clients, or two revisions, of one job are rare: each round has every job once.
    left = set(requested)
    while left:
        round_ = {opening.job_id: opening for opening in left}
        left -= set(round_.values())
        watched = watch_queries.read_changes(
            database,
            {job_id: opening.after_revision for job_id, opening in round_.items()},
            {job_id: opening.client for job_id, opening in round_.items()},
        )
        found |= {round_[job_id]: _change(each) for job_id, each in watched.items()}
    return found


def _changes(database: Database, after: Mapping[UUID, int]) -> Mapping[UUID, Change]:
    watched = watch_queries.read_changes(database, after)
    return {job_id: _change(each) for job_id, each in watched.items()}


def _change(watched: WatchedJob) -> Change:
    level = watched.view.job.secrecy_level
    return Change(
        message_of(watched.view),
        [serialize_document(shown(document, level)) for document in watched.documents],
    )
