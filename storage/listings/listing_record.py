"""The record of a listing: the job gets all of its documents at once."""

from __future__ import annotations

from dataclasses import dataclass

from storage import sql
from storage.errors import LeaseLost
from storage.event_counters import DOCUMENTS_ENDED, JOBS_ENDED
from storage.listings.listing_import import ImportRows, ListingImport
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.portal.listing_claims import ListingClaim
from storage.postgres.database import Database
from storage.selections.selection import Wants
from storage.states import JOB_ENDS


@dataclass(frozen=True, slots=True)
class RecordedListing:
    """`to_fetch`: documents of the case to be fetched.

    `is_refused`: the listing has a seal, and the job, which has ended, refuses sealed cases.
    """

    to_fetch: int
    is_refused: bool = False


class WantsChanged(Exception):
    """A call that joined has changed what the job wants to `wants`. Nothing was recorded."""

    def __init__(self, wants: Wants) -> None:
        super().__init__()
        self.wants = wants


def record(
    database: Database,
    claim: ListingClaim,
    listing: ListingImport,
    *,
    limits: SizeLimits = UNLIMITED,
    wants: Wants | None = None,
) -> RecordedListing:
    """Record the documents of the job, and end the job if there is nothing to fetch. Idempotent.

    A wanted document with a listed size above `limits` is FAILED from the beginning. A job that
    refuses sealed cases gets no document of a listing with any seal, and its run ends. `wants`:
    those of the claim if None. Raises LeaseLost, and WantsChanged if the job wants others by now.
    """
    rows = ImportRows.of(listing, limits, claim.wants if wants is None else wants)
    recorded = database.call_one(
        sql.function("record_listing"),
        job_id=claim.job_id,
        lease=claim.lease,
        listing=rows.as_json,
        answer=listing.answer and listing.answer.as_json,
        content=listing.answer and listing.answer.content,
    )
    if recorded is None:
        raise LeaseLost("The claim on this listing is over.")
    if recorded["is_stale"]:
        raise WantsChanged(Wants.of(recorded["selections"]))
    is_refused = recorded["is_refused"]
    if recorded["is_new"] and is_refused:
        database.counted(JOBS_ENDED, recorded["state"])
    elif recorded["is_new"]:
        count_ends(database, rows, recorded["state"])
    return RecordedListing(0 if is_refused else rows.to_fetch, is_refused)


def count_ends(database: Database, rows: ImportRows, job_state: str) -> None:
    """Count the ends that a committed import caused: documents, and the job if it has ended."""
    for state, cause in rows.ended():
        database.counted(DOCUMENTS_ENDED, state, cause)
    if job_state in JOB_ENDS:
        database.counted(JOBS_ENDED, job_state)
