"""Probe an unavailable court: request a listing only to test whether the court answers."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import Ended, SliceBegun, seconds_of
from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.request_gate import RequestGate
from actors.portal.portal_client import Portal
from actors.resilience.retry import retry_until_available
from storage.errors import AttemptError, ServiceUnavailable, TooFast
from storage.portal.portal_feedback import record_probe
from storage.portal.request_claims import CourtProbe, linger_slots
from storage.portal.retries import RetryPolicy
from storage.portal.slots import court_of
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Shorter than the lease of its slots, so that it needs no renewal.
PART_OF_LEASE = 0.8


@dataclass(frozen=True)
class Prober:
    """The dependencies of a probe."""

    database: Database
    portal: Portal
    renewer: LeaseRenewer
    policy: RetryPolicy
    hints: HintSender
    lease_s: float
    gate: RequestGate

    def probe(self, probe: CourtProbe, *, proposal_id: UUID | None) -> None:
        """Request the listing and record its result for the court."""
        begun = SliceBegun(
            proposal_id,
            probe.job_id,
            probe.token,
            next_request_at=seconds_of(probe.next_request_time),
        )
        self.hints.send(begun)
        with structlog.contextvars.bound_contextvars(job_id=str(probe.job_id)):
            self._probe(probe)
        self.hints.send(Ended(probe.job_id, probe.token))

    def _probe(self, probe: CourtProbe) -> None:
        error: AttemptError | None = None
        # The time that the rate reserved for the request, at most a quarter of a second ahead.
        self.renewer.await_stop(probe.begins_in_s)
        try:
            self.portal.list_case(
                probe.process_number, self.lease_s * PART_OF_LEASE, client=probe.client
            )
        except AttemptError as refusal:
            error = refusal
        except ServiceUnavailable as away:
            log.warning("probe postponed", part=away.part)
            linger_slots(self.database, probe.token)
            return
        court = court_of(probe.process_number)
        log.info("court probed", court=court, answer=error.reason if error else "OK")
        closed_client = retry_until_available(
            lambda: record_probe(self.database, probe, error, self.policy),
            is_stopping=lambda: self.renewer.is_stopping,
        )
        if isinstance(error, TooFast):
            self.gate.close(probe.process_number, error, closed_client)
