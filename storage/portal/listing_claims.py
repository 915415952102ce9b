"""Claims on the listing of a case: a lease on its job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.selections.selection import EVERYTHING, Wants


@dataclass(frozen=True, slots=True)
class ListingClaim:
    """A case that this worker may list while its lease is valid.

    `listed_by`: the job that holds a listing to reuse; None: the portal must be requested.
    `is_doubted`: an earlier answer of the portal lacked documents. `has_history`: the case was
    listed for this client before, so some documents may be stored. `is_look`: the job is the look
    at a watched case. `next_request_time`: as in Slice.
    """

    job_id: UUID
    client: str
    process_number: str
    lease: UUID
    listed_by: UUID | None
    is_doubted: bool
    has_history: bool
    is_look: bool = False
    traceparent: str | None = None
    # Seconds after the claim before which the request must not begin.
    begins_in_s: float = 0.0
    # How long a request takes lately, and so the copy of another client's listing.
    usual_s: float = 0.0
    # The documents that the job wanted when the claim was made.
    wants: Wants = EVERYTHING
    next_request_time: datetime | None = None

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of the claim's request."""
        return self.lease
