"""What a probe of a court that is away came to."""

from __future__ import annotations

from peewee import fn

from storage import answers
from storage.database import Database
from storage.errors import AttemptError
from storage.models import Court, Job
from storage.portal.claims import CourtProbe
from storage.retries import RetryPolicy
from storage.slots import court_of


def record_probe(
    database: Database, probe: CourtProbe, error: AttemptError | None, policy: RetryPolicy
) -> None:
    """Record the answer to a probe; without an error the court is back.

    Raises ServiceUnavailable.
    """
    with database.transaction() as transaction:
        if error is not None:
            court = court_of(probe.process_number)
            answers.record_portal_failure(
                transaction, probe.token, court, error, policy, since=None
            )
            return
        # Its files failed while its court was at work: they say nothing about the court until one
        # of them is good.
        failing_since = Court.select(Court.failing_since).where(Court.court == Job.court)
        transaction.execute(
            Job.update(files_failing_since=failing_since).where(
                Job.job_id == probe.job_id,
                Job.end_time.is_null(),
                fn.EXISTS(Court.select(Court.court).where(Court.court == Job.court)),
            )
        )
        answers.record_success(transaction, probe.token)
