"""look: compare the listing of a watched case with the one before, and record what has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from actors.hints.hints import JobEnded
from actors.pipeline.job_end import JobEnds
from storage.listings import listing_cache
from storage.listings.listing_import import ImportRows, ListingImport
from storage.listings.size_limits import SizeLimits
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.portal.listing_claims import ListingClaim
from storage.portal.retries import jittered
from storage.postgres.database import Database
from storage.subscriptions import looks
from storage.subscriptions.case_change import MOST_IDS, Baseline, CaseChange
from storage.subscriptions.looks import Look, RecordedLook

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Write = Callable[[], Any]

# Seconds before a look is repeated that found a change while a job of the case began.
BUSY_S = 30.0


@dataclass(frozen=True)
class LookStep:
    """The dependencies of a look. `limit_s`: seconds for the bucket's answer."""

    database: Database
    objects: Objects
    ends: JobEnds
    size_limits: SizeLimits
    limit_s: float

    def compare(
        self, claim: ListingClaim, look: Look, listing: ListingImport
    ) -> tuple[Baseline, CaseChange]:
        """Return the baseline of the listing, and what has changed. Raises ServiceUnavailable."""
        return look.difference(listing, looks.data_of(self.database, claim, listing))

    def record(
        self,
        claim: ListingClaim,
        look: Look,
        listing: ListingImport,
        compared: tuple[Baseline, CaseChange],
        insist: Callable[[Write], Any],
    ) -> None:
        """Record the look. If documents have changed, it becomes a job.

        `insist`: repeats a write until PostgreSQL is available. Raises LeaseLost;
        ServiceUnavailable if the bucket is unavailable.
        """
        baseline, changed = compared
        rows = self._rows(claim, look, listing, changed)
        recorded: RecordedLook = insist(
            lambda: looks.record(self.database, claim, listing, baseline, changed, rows)
        )
        if recorded.is_busy:
            delay_s = jittered(BUSY_S)
            insist(lambda: attempts.give_back(self.database, claim, delay_s=delay_s))
            log.info("look postponed", retry_in_s=round(delay_s, 1))
            return
        log.info(
            "case looked at",
            is_first=look.before is None,
            new=len(changed.new_document_ids),
            vanished=len(changed.vanished_document_ids),
            changed=len(changed.changed_document_ids),
            movements=len(changed.new_movements),
        )
        self.ends.messages.send_webhooks(claim.job_id, recorded.due_webhooks)
        if not recorded.is_open:
            self.ends.hints.send(JobEnded(claim.job_id))

    def _rows(
        self, claim: ListingClaim, look: Look, listing: ListingImport, changed: CaseChange
    ) -> ImportRows | None:
        """Return the documents of the job that the look becomes, None if it becomes none."""
        if not changed.concerns_documents:
            return None
        wants = look.wants(changed)
        if claim.has_history:
            listing = listing_cache.with_stored(
                self.database, self.objects, listing, limit_s=self.limit_s, wants=wants
            )
        rows = ImportRows.of(listing, self.size_limits, wants)
        # Each message of the job has its selections.
        return replace(rows, wants=wants.with_ids_at_most(MOST_IDS))
