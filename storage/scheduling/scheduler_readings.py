"""The scheduler's readings of the rows. Times are seconds since 1970 by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import sql
from storage.login.login_values import Login
from storage.postgres.database import Database, Row
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow

# Jobs of one portion.
PORTION_JOBS = 2_000
# At most this many documents of a job are counted; more make no difference.
MOST_DOCUMENTS = 64
# An older heartbeat does not count, in seconds.
HEARTBEAT_S = 5.0
# The key before all others.
FIRST_KEY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class PortalState:
    """The portal, the taken slots, the courts and the workers at one time.

    `now`: seconds since 1970. `portal` has at_once (None: as set), closed_until, held_clients and
    next_request_at; a slot has token, job_id, court, taken_at and requests; a court has court,
    request_s, measured_requests, next_probe_at and held_client; a worker has threads and
    takes_files.
    """

    now: float
    portal: Row
    slots: list[Row]
    courts: list[Row]
    workers: list[Row]


def read_portal(database: Database, login: Login) -> PortalState:
    """Return the rows that the scheduler reads once a second. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        portal = transaction.only(
            sql.statement("read_portal"), login_key=login.key, fingerprint=login.fingerprint
        )
        return PortalState(
            now=portal.pop("now"),
            portal=portal,
            slots=transaction.all(sql.statement("read_slots")),
            courts=transaction.all(sql.statement("read_courts")),
            workers=transaction.all(sql.statement("read_workers"), heartbeat_s=HEARTBEAT_S),
        )


def read_jobs(database: Database, *, after: UUID, limit: int = PORTION_JOBS) -> list[Row]:
    """Return the next portion of running jobs by key. Raises ServiceUnavailable."""
    return _read_jobs(database, after=after, limit=limit)


def read_job(database: Database, job_id: UUID) -> Row | None:
    """Return one running job, None if it is not running. Raises ServiceUnavailable."""
    return next(iter(_read_jobs(database, only=job_id)), None)


def read_listed(database: Database, job_id: UUID, process_number: str | None) -> list[Row]:
    """Return a job whose listing has ended, and the jobs of the case that may have waited for it.

    `process_number`: of the listed case; None: no job has waited. Only running jobs are returned.
    Raises ServiceUnavailable.
    """
    return _read_jobs(database, only=job_id, listed_case=process_number)


def read_recent_jobs(database: Database, *, since: datetime) -> list[Row]:
    """Return the newest running jobs with a run that began after `since`, PORTION_JOBS at most.

    Raises ServiceUnavailable.
    """
    return _read_jobs(database, began_since=since)


def _read_jobs(
    database: Database,
    *,
    only: UUID | None = None,
    listed_case: str | None = None,
    after: UUID | None = None,
    began_since: datetime | None = None,
    limit: int = PORTION_JOBS,
) -> list[Row]:
    return database.call(
        sql.function("read_jobs"),
        only=only,
        listed_case=listed_case,
        after=after,
        began_since=began_since,
        limit=limit,
        most=MOST_DOCUMENTS,
    )


def job_row(row: Row) -> JobRow:
    """Convert a row of `storage.scheduling.scheduler_readings` into the policy's value."""
    values = {
        **row,
        "case": row["process_number"],
        "priority": Priority(row["priority"]),
        "slices": frozenset(row["slices"]),
        "spooled": frozenset(row["spooled"]),
    }
    del values["process_number"]
    return JobRow(**values)
