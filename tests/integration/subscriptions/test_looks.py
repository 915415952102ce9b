"""Watching a case: what a look finds, reports, fetches and leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.clients.client_registry import CaseAccess
from storage.events import event_log
from storage.events.event_log import LoggedEvent
from storage.jobs import job_queries
from storage.postgres.database import Database, Row
from storage.scheduling import reconciliation
from storage.selections.selection import EVERYTHING, NOTHING, Wants
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.subscriptions.watching import (
    changes,
    jobs,
    let_due,
    look,
    start_looks,
    subscription,
    watch,
    watched_case,
)

MOVEMENT = {"dataHora": "2026-01-02T10:00:00", "descricao": "Conclusos", "codigo": 51}


def _change(event: LoggedEvent) -> dict[str, Any]:
    """Return what is different, without what is empty."""
    assert event.change
    return {name: value for name, value in event.change.items() if value}


def _visible(database: Database) -> list[Row]:
    return [job for job in jobs(database) if not job["is_look"]]


def test_the_first_look_is_the_baseline_and_fetches_nothing(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)

    assert pipeline.requested_files(number) == [0, 0]
    assert len(subscription(pipeline.database)["baseline"]["documents"]) == 2
    assert jobs(pipeline.database) == []
    assert changes(pipeline.database) == []


def test_an_unchanged_case_leaves_neither_an_event_nor_a_job(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    look(pipeline)
    look(pipeline)

    assert pipeline.sandbox.request_count(number) == 3
    assert jobs(pipeline.database) == []
    assert changes(pipeline.database) == []
    assert subscription(pipeline.database)["last_change_time"] is None


def test_only_new_documents_are_fetched_by_a_job_with_the_labels(
    pipeline: PipelineHarness,
) -> None:
    number = watched_case(pipeline, labels={"matter": "7"})
    pipeline.sandbox.add_case(documents=3, number=number)

    look(pipeline)

    [event] = changes(pipeline.database)
    assert event.type == "case.changed"
    assert _change(event).keys() == {"new_document_ids", "process_number"}
    assert len(_change(event)["new_document_ids"]) == 1
    [job] = _visible(pipeline.database)
    assert (job["priority"], job["state"]) == ("BULK", "COMPLETED")
    assert (job["completed_documents"], job["skipped_documents"]) == (1, 2)
    assert pipeline.requested_files(number) == [0, 0, 1]
    labelled = job_queries.JobFilter(CLIENT, labels={"matter": "7"})
    [view] = job_queries.page(pipeline.database, labelled, 10)[0]
    assert view.job.job_id == job["job_id"]
    row = subscription(pipeline.database)
    assert row["last_job_id"] == job["job_id"]
    assert row["last_change_time"]
    # The next look finds nothing new.
    look(pipeline)
    assert len(changes(pipeline.database)) == 1
    assert len(jobs(pipeline.database)) == 1


def test_vanished_and_changed_documents_are_reported(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline, list_only=True)
    pipeline.sandbox.add_case(documents=1, number=number, size=30_000)

    look(pipeline)

    [event] = changes(pipeline.database)
    assert _change(event).keys() == {
        "vanished_document_ids",
        "changed_document_ids",
        "process_number",
    }
    # A listing that lacks documents is requested twice.
    assert pipeline.sandbox.request_count(number) == 3
    assert pipeline.requested_files(number) == [0]
    [job] = _visible(pipeline.database)
    assert (job["state"], job["skipped_documents"], job["selections"]) == ("COMPLETED", 1, [])


def test_new_documents_outside_the_selection_are_reported_and_not_fetched(
    pipeline: PipelineHarness,
) -> None:
    number = watched_case(pipeline, selection={"instances": ["G2"]})
    pipeline.sandbox.add_case(documents=3, number=number)

    look(pipeline)

    [event] = changes(pipeline.database)
    assert len(_change(event)["new_document_ids"]) == 1
    assert pipeline.requested_files(number) == [0, 0, 0]


def test_a_document_that_one_listing_lacks_has_not_vanished(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    pipeline.sandbox.add_case(documents=1, number=number)
    let_due(pipeline.database)
    [job_id] = start_looks(pipeline.database)
    pipeline.list_job(job_id)
    pipeline.sandbox.add_case(documents=2, number=number)

    pipeline.work()

    assert changes(pipeline.database) == []
    assert jobs(pipeline.database) == []


def test_new_movements_are_reported_without_a_job(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    pipeline.sandbox.add_case(documents=2, number=number, movements=[MOVEMENT])

    look(pipeline)

    [event] = changes(pipeline.database)
    assert event.change
    [movement] = event.change["new_movements"]
    assert (movement["description"], movement["code"]) == ("Conclusos", 51)
    assert _visible(pipeline.database) == []
    assert subscription(pipeline.database)["last_job_id"] is None


def test_a_sealed_case_hides_what_movements_say(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=1, secrecy=1)
    watch(pipeline.database, number)
    look(pipeline)
    pipeline.sandbox.add_case(documents=1, secrecy=1, number=number, movements=[MOVEMENT])

    look(pipeline)

    [event] = changes(pipeline.database)
    assert event.change
    assert [each["description"] for each in event.change["new_movements"]] == [""]


def test_a_client_that_may_not_fetch_sealed_cases_gets_nothing(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=1, secrecy=1)
    watch(pipeline.database, number)

    look(pipeline, {CLIENT: CaseAccess(refuses_sealed=True)})

    assert pipeline.sandbox.request_count(number) == 1
    assert subscription(pipeline.database)["baseline"] is None
    assert jobs(pipeline.database) == []
    with pipeline.database.transaction() as transaction:
        assert transaction.all("SELECT FROM case_answers") == []


@pytest.mark.parametrize("access", [{}, {CLIENT: CaseAccess(courts=frozenset({"5.02"}))}])
def test_a_case_that_the_client_may_not_ask_for_any_more_is_not_listed(
    pipeline: PipelineHarness, access: dict[str, CaseAccess]
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    watch(pipeline.database, number)

    look(pipeline, access)

    assert pipeline.sandbox.request_count(number) == 0


def test_a_case_that_cannot_be_listed_leaves_nothing(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    pipeline.sandbox.add_case(documents=3, number=number, list_fault="no-access")

    look(pipeline)

    assert jobs(pipeline.database) == []
    assert changes(pipeline.database) == []
    assert len(subscription(pipeline.database)["baseline"]["documents"]) == 2


def test_a_look_past_its_deadline_leaves_nothing(pipeline: PipelineHarness) -> None:
    watched_case(pipeline)
    let_due(pipeline.database)
    [_] = start_looks(pipeline.database)
    factories.execute(pipeline.database, "UPDATE jobs SET deadline_time = now()")

    assert len(reconciliation.time_out(pipeline.database)) == 1

    assert jobs(pipeline.database) == []
    assert event_log.page(pipeline.database, CLIENT, 0, 10)[0] == []


def test_a_look_waits_for_a_running_job_of_the_case(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    job_id = pipeline.begin(number)

    let_due(pipeline.database)

    assert start_looks(pipeline.database) == []
    pipeline.work()
    assert job_queries.get(pipeline.database, CLIENT, job_id).job.state == "COMPLETED"
    # What the job found is nothing new to it, and everything to the subscription.
    assert changes(pipeline.database) == []


def test_a_change_is_reported_although_a_job_listed_it_first(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    pipeline.sandbox.add_case(documents=3, number=number)
    pipeline.run(number)

    look(pipeline)

    [event] = changes(pipeline.database)
    assert len(_change(event)["new_document_ids"]) == 1


def test_a_call_during_a_look_gets_a_job_of_its_own(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    pipeline.sandbox.add_case(documents=3, number=number)
    let_due(pipeline.database)
    [look_id] = start_looks(pipeline.database)

    job_id = pipeline.begin(number)

    assert job_id != look_id
    assert job_queries.newest(pipeline.database, CLIENT, number).job.job_id == job_id
    # The look has a change to report, and becomes no second job of the case.
    pipeline.list_job(look_id)
    assert changes(pipeline.database) == []
    pipeline.list_job(job_id)
    pipeline.work()
    factories.execute(
        pipeline.database, "UPDATE jobs SET listing_not_before = NULL WHERE end_time IS NULL"
    )
    pipeline.work()
    assert len(changes(pipeline.database)) == 1
    assert len(_visible(pipeline.database)) == 2
    # The listing of the job served the look.
    assert pipeline.sandbox.request_count(number) == 3


@pytest.mark.parametrize("wants", [EVERYTHING, NOTHING], ids=["all", "list only"])
def test_a_job_that_waits_for_its_time_stops_no_look_and_fetches_what_is_new(
    pipeline: PipelineHarness, wants: Wants
) -> None:
    database, number = pipeline.database, watched_case(pipeline)
    later = datetime.now(UTC) + timedelta(days=20)
    asked = factories.request(number, max_age_s=0, not_before_time=later, wants=wants)
    job_id = factories.start(database, asked)[0].job.job_id
    pipeline.sandbox.add_case(documents=3, number=number)

    look(pipeline)

    [event] = changes(database)
    assert len(_change(event)["new_document_ids"]) == 1
    assert [job["job_id"] for job in _visible(database)] == [job_id]
    assert pipeline.requested_files(number) == [0, 0, 0]
    factories.execute(
        database,
        "UPDATE jobs SET not_before_time = now() - interval '1 s' WHERE job_id = %(id)s",
        id=job_id,
    )
    pipeline.work()
    fetched = [1, 1, 1] if wants is EVERYTHING else [0, 0, 1]
    assert pipeline.requested_files(number) == fetched
    assert factories.job(database, job_id)["state"] == "COMPLETED"
    look(pipeline)
    assert len(changes(database)) == 1


def test_callers_do_not_see_a_look(pipeline: PipelineHarness) -> None:
    watched_case(pipeline)
    let_due(pipeline.database)
    [look_id] = start_looks(pipeline.database)

    assert job_queries.page(pipeline.database, job_queries.JobFilter(CLIENT), 10)[0] == []
    with pytest.raises(Exception, match="There is no job"):
        job_queries.get(pipeline.database, CLIENT, look_id)
