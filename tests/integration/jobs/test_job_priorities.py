"""Test priorities of jobs: as requested, raised by joins, kept by ends and reruns."""

from __future__ import annotations

from functools import partial

import pytest

from storage.errors import PermanentError
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.postgres.database import Database
from storage.priorities import Priority
from storage.states import JobState
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT, POLICY

UNKNOWN = PermanentError("NOT_FOUND", "The portal does not know this case.")


def test_a_job_has_the_requested_priority(database: Database) -> None:
    views = [
        factories.start(database, factories.request(priority=priority))[0]
        for priority in list(Priority)
    ]

    assert [view.job.priority for view in views] == ["HIGH", "NORMAL", "BULK"]


@pytest.mark.parametrize(
    ("has", "requested", "then"),
    [
        (Priority.BULK, Priority.NORMAL, Priority.NORMAL),
        (Priority.BULK, Priority.HIGH, Priority.HIGH),
        (Priority.NORMAL, Priority.HIGH, Priority.HIGH),
        (Priority.NORMAL, Priority.BULK, Priority.NORMAL),
        (Priority.HIGH, Priority.NORMAL, Priority.HIGH),
        (Priority.HIGH, Priority.HIGH, Priority.HIGH),
    ],
)
def test_a_join_raises_a_priority_and_never_lowers_it(
    database: Database, has: Priority, requested: Priority, then: Priority
) -> None:
    wanted = factories.request(priority=has)
    before, _ = factories.start(database, wanted)

    after, is_new = factories.start(
        database, factories.request(wanted.process_number, priority=requested)
    )

    assert not is_new
    assert after.job.priority == then
    assert after.job.revision == before.job.revision + (then is not has)
    assert job_queries.get(database, CLIENT, before.job.job_id) == after


def test_joins_at_the_same_moment_leave_the_highest_priority(database: Database) -> None:
    wanted = factories.request(priority=Priority.BULK)
    view, _ = factories.start(database, wanted)
    requested = [Priority.NORMAL, Priority.HIGH, Priority.BULK] * 5

    run_concurrently(
        [
            partial(factories.start, database, factories.request(wanted.process_number, priority=p))
            for p in requested
        ]
    )

    assert job_queries.get(database, CLIENT, view.job.job_id).job.priority == "HIGH"


def test_the_frozen_end_and_the_next_run_of_a_job_keep_its_priority(
    database: Database, objects: Objects
) -> None:
    wanted = factories.request(priority=Priority.HIGH, webhook_url=factories.HOOK)
    view, _ = factories.start(database, wanted)
    job_id = view.job.job_id
    attempts.fail_attempt(database, factories.listing_claim(database, job_id), UNKNOWN, POLICY)

    again, _ = factories.rerun(database, objects, job_id)

    (event,) = factories.events(database, job_id)
    assert event["job"]["state"] == JobState.FAILED
    assert (event["job"]["priority"], event["job"]["vanished_document_ids"]) == ("HIGH", [])
    assert again.job.priority == "HIGH"
