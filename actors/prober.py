"""prober: asks a court that is away for a listing, only to see whether it answers."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from storage import tasks
from storage.database import Database
from storage.errors import AttemptError, ServiceUnavailable
from storage.outcomes import Outcome
from storage.retries import RetryPolicy
from storage.slots import court_of
from storage.tasks import Probe

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Shorter than the lease of its slots, so that nobody need renew it.
PART_OF_LEASE = 0.8


@dataclass(frozen=True)
class Prober:
    """What a probe needs."""

    database: Database
    portal: Portal
    keeper: Keeper
    policy: RetryPolicy
    lease_s: float

    def probe(self, probe: Probe) -> Outcome | None:
        """Asks, and tells everybody what came of it; None when something of ours is away."""
        with structlog.contextvars.bound_contextvars(job_id=str(probe.job_id)):
            return self._probe(probe)

    def _probe(self, probe: Probe) -> Outcome | None:
        error: AttemptError | None = None
        try:
            self.portal.list_case(probe.process_number, self.lease_s * PART_OF_LEASE)
        except AttemptError as refusal:
            error = refusal
        except ServiceUnavailable as away:
            log.warning("probe postponed", part=away.part)
            tasks.release(self.database, probe.lease)
            return None
        court = court_of(probe.process_number)
        log.info("court probed", court=court, answer=error.reason if error else "OK")
        return insist(
            lambda: tasks.probed(self.database, probe, error, self.policy),
            is_stopping=lambda: self.keeper.is_stopping,
        )
