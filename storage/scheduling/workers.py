"""Heartbeats of worker processes. From them the scheduler counts the available threads."""

from __future__ import annotations

from uuid import UUID

from peewee import fn

from storage.models import WorkerProcess
from storage.models.base import time_after
from storage.postgres.database import Database

# A row without a heartbeat for this long is deleted, in seconds.
FORGOTTEN_S = 3_600.0


def beat(database: Database, worker_id: UUID, *, threads: int, takes_files: bool) -> None:
    """Record that a worker process is alive, and what it accepts. Raises ServiceUnavailable."""
    now = fn.clock_timestamp()
    query = WorkerProcess.insert(
        worker_id=worker_id, heartbeat_time=now, threads=threads, takes_files=takes_files
    ).on_conflict(
        conflict_target=[WorkerProcess.worker_id],
        update={
            WorkerProcess.heartbeat_time: now,
            WorkerProcess.threads: threads,
            WorkerProcess.takes_files: takes_files,
        },
    )
    with database.autocommit() as transaction:
        transaction.execute(query)


def leave(database: Database, worker_id: UUID) -> None:
    """Delete the row of a process that ends, and old rows of lost processes.

    Raises ServiceUnavailable.
    """
    forgotten = time_after(-FORGOTTEN_S)
    query = WorkerProcess.delete().where(
        (WorkerProcess.worker_id == worker_id) | (WorkerProcess.heartbeat_time < forgotten)
    )
    with database.transaction() as transaction:
        transaction.execute(query)
