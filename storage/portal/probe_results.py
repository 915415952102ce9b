"""The result of a probe of an unavailable court."""

from __future__ import annotations

from peewee import fn

from storage.errors import AttemptError
from storage.models import Court, Job
from storage.portal import portal_feedback
from storage.portal.request_claims import CourtProbe
from storage.portal.retries import RetryPolicy
from storage.portal.slots import court_of
from storage.postgres.database import Database


def record_probe(
    database: Database, probe: CourtProbe, error: AttemptError | None, policy: RetryPolicy
) -> str | None:
    """Record the answer to a probe. Without an error the court is available again.

    Return the only client that a failure stops, None if it stops all. Raises ServiceUnavailable.
    """
    with database.transaction() as transaction:
        if error is not None:
            court = court_of(probe.process_number)
            effect = portal_feedback.record_portal_failure(
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
        portal_feedback.record_success(transaction, probe.token)
        return None
