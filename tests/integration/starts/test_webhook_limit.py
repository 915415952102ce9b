"""Test the largest number of webhooks that a job gets."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest

from storage.errors import LimitReached
from storage.jobs import job_start as starts
from storage.jobs.job_start import MAX_WEBHOOKS, How, StartAttempt, StartRequest
from storage.postgres.database import Database
from storage.priorities import Priority
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently


def _request(number: str, place: int, **values: object) -> StartRequest:
    return factories.request(number, webhook_url=f"https://example.com/{place}", **values)


def _how(database: Database, *requests: StartRequest) -> list[How]:
    attempts = [StartAttempt(request, may_look=False) for request in requests]
    return [each.how for each in starts.start_jobs(database, attempts, job_deadline_s=3_600)]


def test_a_job_gets_ten_webhooks_and_a_call_that_would_add_one_changes_nothing(
    database: Database,
) -> None:
    number = factories.process_number()
    wanted = [_request(number, place) for place in range(MAX_WEBHOOKS)]
    job = factories.start(database, wanted[0])[0].job
    for request in wanted[1:]:
        factories.start(database, request)
    before = factories.job(database, job.job_id)

    request_id = uuid4()
    more = _request(number, MAX_WEBHOOKS, priority=Priority.HIGH, request_id=request_id)
    with pytest.raises(LimitReached) as caught:
        factories.start(database, more)

    assert MAX_WEBHOOKS == 10
    refusal = caught.value
    assert (refusal.reason, refusal.name) == ("TOO_MANY_WEBHOOKS", "webhooks_per_job")
    assert refusal.limit == MAX_WEBHOOKS
    assert factories.job(database, job.job_id) == before
    assert len(factories.webhooks(database, job.job_id)) == MAX_WEBHOOKS
    # A known URL, a call without one, another case, and the same request_id once more.
    other = _request(factories.process_number(), MAX_WEBHOOKS, request_id=request_id)
    assert _how(database, wanted[3], factories.request(number), other) == [
        *(How.JOINED, How.JOINED, How.NEW)
    ]


def test_calls_at_once_get_ten_webhooks_in_all(database: Database) -> None:
    number = factories.process_number()
    factories.start(database, factories.request(number))

    def join(place: int) -> bool:
        try:
            factories.start(database, _request(number, place))
        except LimitReached:
            return False
        return True

    joined = run_concurrently([partial(join, place) for place in range(MAX_WEBHOOKS + 6)])

    assert sum(joined) == MAX_WEBHOOKS


def test_calls_of_one_transaction_get_ten_webhooks_in_all(database: Database) -> None:
    number = factories.process_number()

    how = _how(database, *(_request(number, place) for place in range(MAX_WEBHOOKS + 2)))

    assert how == [How.NEW, *[How.JOINED] * (MAX_WEBHOOKS - 1), *[How.NO_WEBHOOK] * 2]
