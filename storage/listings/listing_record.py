"""The record of a listing: a job gets its documents, all at once."""

from __future__ import annotations

from dataclasses import dataclass

from storage import sql
from storage.errors import LeaseLost
from storage.event_counters import DOCUMENTS_ENDED, JOBS_ENDED
from storage.listings.listing_import import ImportRows, ListingImport
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.portal import portal_feedback
from storage.portal.listing_claims import ListingClaim
from storage.postgres.database import Database
from storage.states import JOB_ENDS


@dataclass(frozen=True, slots=True)
class RecordedListing:
    """How many documents of a case are to be fetched; `wakes` as in Outcome."""

    to_fetch: int
    extra_requests: int


def record(
    database: Database,
    claim: ListingClaim,
    listing: ListingImport,
    *,
    limits: SizeLimits = UNLIMITED,
) -> RecordedListing:
    """Give the job its documents, and end it if none of them is to be fetched. Idempotent.

    A document whose listed size is above `limits` is FAILED from the beginning. Raises LeaseLost.
    """
    rows = ImportRows.of(listing, limits)
    recorded = database.call_one(
        sql.function("record_listing"),
        job_id=claim.job_id,
        lease=claim.lease,
        listing=rows.as_json,
    )
    if recorded is None:
        raise LeaseLost("The claim on this listing is no longer ours.")
    if recorded["is_new"]:
        count_ends(database, rows, recorded["state"])
    wakes = portal_feedback.extra_requests(was_away=recorded["was_away"], growth=recorded["growth"])
    return RecordedListing(rows.to_fetch, wakes)


def count_ends(database: Database, rows: ImportRows, job_state: str) -> None:
    """Count what a committed import has ended: documents, and the job if it is in an end state."""
    for state, cause in rows.ended():
        database.counted(DOCUMENTS_ENDED, state, cause)
    if job_state in JOB_ENDS:
        database.counted(JOBS_ENDED, job_state)
