"""Record what an answer shows about the portal itself, besides the requested document."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from peewee import fn

from storage import sql
from storage.errors import AttemptError, PermanentError, TooFast, TransientError
from storage.models import Court, Job
from storage.portal import circuit_breaker, slots, throttle
from storage.portal.outcomes import FailureEffect
from storage.portal.request_claims import CourtProbe
from storage.portal.retries import RetryPolicy
from storage.portal.slots import court_of
from storage.postgres.database import Database, Transaction

# The reason for 502, 503, 504, broken connections and timeouts.
AWAY = "PORTAL_UNAVAILABLE"


def record_success(transaction: Transaction, slot_token: UUID) -> None:
    """Record an answer that shows that the portal works, and free the slots of its request."""
    transaction.only(sql.function("portal_answered").call, slot_tokens=[slot_token])


def record_portal_failure(
    transaction: Transaction,
    lease: UUID,
    court: str,
    error: AttemptError,
    policy: RetryPolicy,
    *,
    client: str,
    since: datetime | None,
    refusals: int = 0,
) -> FailureEffect:
    """Record the failure of a request for an item that has failed `since` (None: not before).

    `client`: of the item's job. `refusals`: how many times in a row the portal asked for a pause
    for this item.
    """
    began = since or transaction.now()
    if isinstance(error, TooFast):
        is_own = throttle.is_document_specific(transaction, error, since=since, refusals=refusals)
        if is_own:
            slots.release(transaction, lease)
            return FailureEffect(failing_since=began)
        pause = throttle.back_off(transaction, lease, client, error, policy.pauses)
        slots.release(transaction, lease)
        return replace(pause, failing_since=began)
    if isinstance(error, PermanentError) and not error.is_requested:
        slots.release(transaction, lease)
        return FailureEffect()
    if error.reason != AWAY:
        record_success(transaction, lease)
        return FailureEffect()
    lingers = isinstance(error, TransientError) and not error.is_answered
    (slots.release_after_delay if lingers else slots.release)(transaction, lease)
    return circuit_breaker.record_failure(
        transaction, court, client, since=began, policy=policy.probes
    )


def record_probe(
    database: Database, probe: CourtProbe, error: AttemptError | None, policy: RetryPolicy
) -> str | None:
    """Record the answer to a probe. Without an error the court is available again.

    Return the only client that a failure stops, None if it stops all. Raises ServiceUnavailable.
    """
    with database.transaction() as transaction:
        if error is not None:
            court = court_of(probe.process_number)
            effect = record_portal_failure(
                transaction, probe.token, court, error, policy, client=probe.client, since=None
            )
            return effect.client
        # The files of this job failed while their court answered. So these failures prove nothing
        # about the court until one of the files succeeds.
        failing_since = Court.select(Court.failing_since).where(Court.court == Job.court)
        transaction.execute(
            Job.update(files_failing_since=failing_since).where(
                Job.job_id == probe.job_id,
                Job.end_time.is_null(),
                fn.EXISTS(Court.select(Court.court).where(Court.court == Job.court)),
            )
        )
        record_success(transaction, probe.token)
        return None
