"""Start a job without a server."""

from __future__ import annotations

import time

from storage.errors import RowsLocked
from storage.jobs.job_start import (
    BUSY_LIMIT_S,
    How,
    StartAttempt,
    StartRequest,
    required,
    start_jobs,
)
from storage.listings.listing_import import ListingImport
from storage.postgres.database import Database
from storage.records import JobView


def start(
    database: Database,
    request: StartRequest,
    *,
    job_deadline_s: int,
    listing: ListingImport | None = None,
) -> tuple[JobView, bool]:
    """Return the job that serves `request`, and whether it is new. Ignore recent listings.

    Raises RequestIdReused, and LimitReached if a new job would exceed the client's limit.
    """
    attempt = StartAttempt(request, listing, may_look=False)
    limit = time.monotonic() + BUSY_LIMIT_S
    while True:
        try:
            [answer] = start_jobs(database, [attempt], job_deadline_s=job_deadline_s)
        except RowsLocked:
            if time.monotonic() > limit:
                raise
            continue
        return required(request, answer), answer.how is How.NEW
