"""The listing of a case as a lease on its job."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from peewee import fn

from storage.database import Database
from storage.models import Job


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
    # Seconds after the claim before which the request must not begin.
    begins_in_s: float = 0.0

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of its request."""
        return self.lease


def waiting(database: Database, claim: ListingClaim) -> list[UUID]:
    """The jobs that may have waited for this listing to be over, and go on now.

    To be asked once its end is committed: who was refused before that has a row by then.
    """
    if claim.listed_by is not None:
        return []
    now = fn.clock_timestamp()
    query = Job.select(Job.job_id).where(
        Job.process_number == claim.process_number,
        Job.job_id != claim.job_id,
        Job.listed_time.is_null(),
        Job.end_time.is_null(),
        Job.listing_lease_until.is_null() | (Job.listing_lease_until < now),
        Job.listing_not_before.is_null() | (Job.listing_not_before <= now),
    )
    with database.single() as transaction:
        return [job_id for (job_id,) in transaction.fetch(query.order_by(Job.create_time).tuples())]
