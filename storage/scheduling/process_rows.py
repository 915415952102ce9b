"""The rows of processes: the leader's lease, and the heartbeats of workers.

Two leaders cost efficiency, not safety, so nothing is fenced. From the heartbeats the scheduler
counts the available threads.
"""

from __future__ import annotations

from uuid import UUID

from peewee import fn

from storage.models import Leader, WorkerProcess
from storage.models.base import time_after
from storage.postgres.database import Database

# Another scheduler follows a lost leader after at most this many seconds.
LEASE_S = 4.0
# A row without a heartbeat for this long is deleted, in seconds.
FORGOTTEN_S = 3_600.0


def lead(database: Database, holder: UUID, *, sends: bool) -> bool:
    """Take or renew the lease for `holder`. Return whether it leads now.

    `sends`: the holder's last write to Valkey succeeded. While no leader sends, workers claim by
    themselves. Raises ServiceUnavailable.
    """
    now = fn.clock_timestamp()
    # A later end than any lease can have was set before the clock of the database went back, for
    # example at a failover.
    is_over = (Leader.lease_until < now) | (Leader.lease_until > time_after(2 * LEASE_S))
    query = Leader.update(
        holder=holder,
        lease_until=time_after(LEASE_S),
        sends_time=now if sends else Leader.sends_time,
    ).where(Leader.holder.is_null() | (Leader.holder == holder) | is_over)
    with database.autocommit() as transaction:
        return transaction.execute(query) == 1


def give_up(database: Database, holder: UUID) -> None:
    """Give up the lease if `holder` has it. Raises ServiceUnavailable."""
    query = Leader.update(holder=None, lease_until=None, sends_time=None).where(
        Leader.holder == holder
    )
    with database.autocommit() as transaction:
        transaction.execute(query)


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
    with database.autocommit() as transaction:
        transaction.execute(query)
