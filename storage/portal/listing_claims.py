"""The listing of a case as a lease on its job."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from storage import sql
from storage.postgres.database import Database


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


def jobs_waiting(database: Database, claim: ListingClaim) -> list[UUID]:
    """The jobs that may have waited for this listing to be over, and go on now.

    To be asked once its end is committed: who was refused before that has a row by then.
    """
    if claim.listed_by is not None:
        return []
    with database.single() as transaction:
        rows = transaction.all(
            sql.statement("waiting_jobs"),
            process_number=claim.process_number,
            job_id=claim.job_id,
        )
    return [row["job_id"] for row in rows]
