"""Repairs by the scheduler: everything that should progress and shows no sign of life.

Every repair is a conditional write or an idempotent message, so any number of schedulers may run.
Rows that another transaction holds are skipped, because that transaction is alive.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from peewee import fn

from storage import sql
from storage.errors import Failure, LeaseLost
from storage.job_end.completion import complete_if_done, end, terminate_remaining
from storage.models import Document, Job, SpoolState
from storage.models.base import is_any, time_after
from storage.models.job import RUNNING
from storage.portal import attempts
from storage.portal.attempts import SPOOL_DEAD_S, is_abandoned
from storage.portal.document_claims import DocumentLease
from storage.postgres.database import Database, Row
from storage.states import IN_LANE, DocumentState, JobState

# Seconds before the first repeated message; each further delay is twice as long.
REDISPATCH_BASE_S = 5
REDISPATCH_CAP_S = 60
# How many rows of each kind one pass takes. The next pass takes the rest.
BATCH = 500

TIMEOUT = Failure("TIMEOUT", "The job did not end before its deadline.", True)


def stalled_webhooks(database: Database, *, is_redis_lost: bool) -> list[tuple[UUID, int]]:
    """Return (job_id, position) of due webhooks that no notifier sends: one batch.

    After a loss of Valkey, return all due webhooks, batch by batch.
    """
    with database.autocommit() as transaction:
        sent_before = transaction.now() if is_redis_lost else None
    rows: list[Row] = []
    while True:
        with database.autocommit() as transaction:
            batch = transaction.all(
                sql.statement("take_stalled_webhooks"),
                sent_before=sent_before,
                base_s=REDISPATCH_BASE_S,
                cap_s=REDISPATCH_CAP_S,
                most=BATCH,
            )
        rows += batch
        if not is_redis_lost or len(batch) < BATCH:
            return [(row["job_id"], row["position"]) for row in rows]


def ping(database: Database) -> None:
    """Make the smallest round trip. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        transaction.now()


def reclaim(database: Database) -> list[UUID]:
    """Take back the claims of lost workers and spools. Return the jobs concerned."""
    rows: list[Row] = []
    for state in sorted(IN_LANE):
        query = (
            Document.select(Document.job_id, Document.document_id, Document.lease, Document.state)
            .where(is_abandoned(state))
            .limit(BATCH)
            .dicts()
        )
        with database.autocommit() as transaction:
            rows += transaction.fetch(query)
    return sorted({row["job_id"] for row in rows if _take_back(database, row)})


def _take_back(database: Database, row: Row) -> bool:
    held = DocumentLease(row["job_id"], row["document_id"], row["lease"])
    try:
        attempts.expire(database, held, DocumentState(row["state"]))
    except LeaseLost:
        # The document moved between the two reads, so its worker or spool is alive.
        return False
    return True


def time_out(database: Database) -> list[UUID]:
    """End the jobs that are past their deadline: the open documents fail with TIMEOUT.

    The deadline of a job that waits for the budget of cases stands still. Return the ids of these
    jobs.
    """
    query = (
        Job.select(Job.job_id)
        .where(
            Job.state.in_(RUNNING),
            Job.deadline_time < fn.clock_timestamp(),
            Job.budget_wait_time.is_null(),
        )
        .limit(BATCH)
        .tuples()
    )
    with database.autocommit() as transaction:
        ids = [job_id for (job_id,) in transaction.fetch(query)]
    for job_id in ids:
        _time_out(database, job_id)
    return ids


def _time_out(database: Database, job_id: UUID) -> None:
    still_running = Job.select().where(
        Job.job_id == job_id, Job.end_time.is_null(), Job.budget_wait_time.is_null()
    )
    with database.transaction() as transaction:
        job = transaction.fetch_one(still_running.for_update().dicts())
        if job is None:
            return
        if job["total_documents"] is None:
            end(transaction, job_id, JobState.FAILED, TIMEOUT)
        else:
            complete_if_done(
                transaction, terminate_remaining(transaction, job, DocumentState.FAILED, TIMEOUT)
            )


def finish_idle(database: Database) -> list[UUID]:
    """End running jobs with nothing left to do. None should exist; if one does, it must end."""
    query = (
        Job.select()
        .where(Job.state.in_(RUNNING), Job.documents_left() <= 0)
        .limit(BATCH)
        .for_update(skip_locked=True)
        .dicts()
    )
    with database.transaction() as transaction:
        rows: list[Row] = transaction.fetch(query)
        for row in rows:
            complete_if_done(transaction, row)
    return [row["job_id"] for row in rows]


def record_heartbeat(database: Database, spool_id: UUID, trouble: str) -> None:
    """Record that this spool's uploader is alive, and why the spool accepts no files, if so."""
    now = fn.clock_timestamp()
    query = SpoolState.insert(spool_id=spool_id, heartbeat_time=now, trouble=trouble).on_conflict(
        conflict_target=[SpoolState.spool_id],
        update={SpoolState.heartbeat_time: now, SpoolState.trouble: trouble},
    )
    with database.autocommit() as transaction:
        transaction.execute(query)


_IS_ALIVE = SpoolState.heartbeat_time >= time_after(-SPOOL_DEAD_S)
# A live spool that accepts no more files.
IN_TROUBLE = (SpoolState.trouble != "") & _IS_ALIVE
_FILES = Document.select(Document.document_id).where(
    Document.spool_id == SpoolState.spool_id, Document.state == DocumentState.DOWNLOADED
)
# A spool without a heartbeat. All of its files have been taken back.
_IS_DEAD = (SpoolState.heartbeat_time < time_after(-SPOOL_DEAD_S)) & ~fn.EXISTS(_FILES)


def spool_problems(database: Database) -> list[str]:
    """Return the problems of the live spools."""
    query = SpoolState.select(SpoolState.trouble).where(IN_TROUBLE).distinct().tuples()
    with database.autocommit() as transaction:
        return [trouble for (trouble,) in transaction.fetch(query)]


def dead_spools(database: Database) -> list[UUID]:
    """Return the spools without a heartbeat that have no claimed files left."""
    query = SpoolState.select(SpoolState.spool_id).where(_IS_DEAD).tuples()
    with database.autocommit() as transaction:
        return [spool_id for (spool_id,) in transaction.fetch(query)]


def retire_spool(database: Database, spool_id: UUID, drop_queue: Callable[[], bool]) -> bool:
    """Forget a spool that is still dead, once `drop_queue` has dropped its queue.

    Return whether that happened. No heartbeat of the spool is recorded meanwhile. A heartbeat that
    arrives later registers the spool again.
    """
    is_it = SpoolState.spool_id == spool_id
    with database.transaction() as transaction:
        dead = transaction.fetch_one(SpoolState.select().where(is_it, _IS_DEAD).for_update())
        if dead is None or not drop_queue():
            return False
        transaction.execute(SpoolState.delete().where(is_it))
    return True


def orphaned_tokens(database: Database, leases: list[UUID]) -> set[UUID]:
    """Return the tokens that no document row holds: their spool files can be deleted."""
    query = Document.select(Document.lease).where(is_any(Document.lease, leases)).tuples()
    with database.autocommit() as transaction:
        return set(leases) - {lease for (lease,) in transaction.fetch(query)}
