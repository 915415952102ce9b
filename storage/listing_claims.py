"""The listing of a case as a lease on its job: claim, fail, give back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from storage import reuse
from storage.database import Database, Row, Transaction, in_list
from storage.ending import end
from storage.errors import Failure
from storage.retries import LOST_LEASES
from storage.states import JobState, sources_of
from storage.tallies import LEASES_LOST
from storage.turns import IS_ASKED_FOR_ANOTHER

WORKER_LOST = Failure(
    "WORKER_LOST", f"Its worker was lost {LOST_LEASES} times while listing the case.", True
)


# Never waits: who is second in the same moment is told when the first is done.
TRY_LOCK_CASE = "pg_try_advisory_xact_lock(hashtextextended('listing ' || process_number, 0))"
_LOCK_CASE = f"SELECT {TRY_LOCK_CASE} AS is_ours FROM jobs WHERE job_id = %(job_id)s"
# A PENDING job becomes PROCESSING. The condition with coalesce keeps PostgreSQL from reading the
# index of all jobs that are not listed.
CLAIM = f"""
UPDATE jobs SET state = '{JobState.PROCESSING}',
    start_time = coalesce(start_time, clock_timestamp()),
    revision = revision + CASE state WHEN '{JobState.PENDING}' THEN 1 ELSE 0 END,
    update_time = CASE state WHEN '{JobState.PENDING}' THEN clock_timestamp()
        ELSE update_time END,
    listing_lost_count = listing_lost_count
        + CASE WHEN listing_lease IS NULL THEN 0 ELSE 1 END,
    listing_lease = %(lease)s, listed_by = %(listed_by)s,
    listing_lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
WHERE job_id = %(job_id)s AND coalesce(listed_time, end_time) IS NULL
    AND (state = '{JobState.PROCESSING}'
         OR state IN ({in_list(sources_of(JobState.PROCESSING))}))
    AND (listing_not_before IS NULL OR listing_not_before <= clock_timestamp())
    AND (listing_lease_until IS NULL OR listing_lease_until < clock_timestamp())
"""


# Whether the client of `jobs` had its case listed before.
HAS_HISTORY = """
EXISTS (SELECT FROM jobs AS earlier WHERE earlier.client = jobs.client
    AND earlier.process_number = jobs.process_number AND earlier.listed_time IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class ListingClaim:
    """A case that this worker may list while its lease holds.

    `listed_by`: the job whose listing serves this one too; None: the portal is to be asked.
    `is_doubted`: the portal was asked already, and its answer lacked documents. `has_history`: the
    case was listed for this client before, so some of it may be stored.
    """

    job_id: UUID
    client: str
    process_number: str
    lease: UUID
    listed_by: UUID | None
    is_doubted: bool
    has_history: bool
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a job waits for: `is_served`: its listing is known from another's already."""

    is_over: bool
    is_served: bool


def outlook(database: Database, job_id: UUID) -> Outlook:
    """What is known of a job before the portal is asked."""
    with database.single() as transaction:
        row = transaction.one(
            "SELECT end_time IS NOT NULL AS is_over, listed_time IS NULL AND end_time IS NULL"
            f" AND EXISTS ({reuse.SERVING}) AS is_served FROM jobs WHERE job_id = %(job_id)s",
            job_id=job_id,
        )
    return Outlook(**row) if row else Outlook(is_over=True, is_served=False)


def claim_known(database: Database, job_id: UUID, *, lease_s: float) -> ListingClaim | None:
    """The listing of a job that another job's serves; None when the portal must be asked."""
    with database.transaction() as transaction:
        job = transaction.one(
            "SELECT * FROM jobs WHERE job_id = %(job_id)s AND end_time IS NULL FOR UPDATE",
            job_id=job_id,
        )
        source = reuse.source_of(transaction, job_id) if job else None
        if job is None or source is None:
            return None
        return _claim(transaction, job, uuid4(), source, lease_s=lease_s)


def claim_in(
    transaction: Transaction, job: Row, lease: UUID, *, lease_s: float
) -> ListingClaim | None:
    """The listing of `job`, whose lock is held, leased for `lease_s` seconds; None: not now.

    While another job's listing of the case is asked for there is nothing to do; see `waiting`.
    """
    may_begin, listed_by = _source(transaction, job["job_id"])
    return _claim(transaction, job, lease, listed_by, lease_s=lease_s) if may_begin else None


def _claim(
    transaction: Transaction, job: Row, lease: UUID, listed_by: UUID | None, *, lease_s: float
) -> ListingClaim | None:
    """Begins the work: a PENDING job becomes PROCESSING."""
    row = transaction.one(
        f"{CLAIM} RETURNING *, {HAS_HISTORY} AS has_history",
        job_id=job["job_id"],
        lease=lease,
        listed_by=listed_by,
        lease_s=lease_s,
    )
    if row is None:
        return None
    if job["listing_lease"] is not None:
        transaction.count(LEASES_LOST, "list")
    transaction.changed(row["job_id"], row["revision"])
    return ListingClaim(
        job_id=row["job_id"],
        client=row["client"],
        process_number=row["process_number"],
        lease=lease,
        listed_by=listed_by,
        is_doubted=row["listing_doubt_time"] is not None,
        has_history=row["has_history"],
        traceparent=row["traceparent"],
    )


def _source(transaction: Transaction, job_id: UUID) -> tuple[bool, UUID | None]:
    """Whether the job's listing may begin, and the job whose listing serves it, if there is one.

    Until the transaction ends no other job of the case begins to ask the portal.
    """
    source = reuse.source_of(transaction, job_id)
    if source is not None:
        return True, source
    lock = transaction.one(_LOCK_CASE, job_id=job_id)
    if not (lock and lock["is_ours"]):
        return False, None
    # Only a statement that begins under the lock sees what the claim before committed.
    free = transaction.one(
        f"SELECT FROM jobs WHERE job_id = %(job_id)s AND NOT {IS_ASKED_FOR_ANOTHER}", job_id=job_id
    )
    return free is not None, reuse.source_of(transaction, job_id)


def waiting(database: Database, claim: ListingClaim) -> list[UUID]:
    """The jobs that may have waited for this listing to be over, and go on now.

    To be asked once its end is committed: who was refused before that has a row by then.
    """
    if claim.listed_by is not None:
        return []
    with database.single() as transaction:
        rows = transaction.all(
            """
            SELECT job_id FROM jobs WHERE process_number = %(process_number)s
                AND job_id <> %(job_id)s AND listed_time IS NULL AND end_time IS NULL
                AND coalesce(listing_lease_until, '-infinity') < clock_timestamp()
                AND coalesce(listing_not_before, '-infinity') <= clock_timestamp()
            ORDER BY create_time
            """,
            process_number=claim.process_number,
            job_id=claim.job_id,
        )
    return [row["job_id"] for row in rows]


def give_up(transaction: Transaction, job: Row) -> bool:
    """Fails `job`, whose lock is held, when its listing has lost its fifth worker; whether so."""
    if job["listing_lease"] is None or job["listing_lost_count"] + 1 < LOST_LEASES:
        return False
    if job["listing_lease_until"] >= _now(transaction):
        return False
    end(transaction, job["job_id"], JobState.FAILED, WORKER_LOST)
    return True


def _now(transaction: Transaction) -> datetime:
    now: datetime = transaction.only("SELECT clock_timestamp() AS now")["now"]
    return now
