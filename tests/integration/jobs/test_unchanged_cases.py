"""Test jobs of an unchanged case: they refer to the documents of an earlier job and copy none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

import peewee
import pytest

from storage.documents import document_queries
from storage.documents.document_queries import DocumentFilter
from storage.errors import NotFound, PreconditionFailed
from storage.jobs import job_queries, reruns, watch_queries
from storage.jobs.job_start import StartAttempt, start_jobs
from storage.listings import listing_cache, listing_record
from storage.postgres.database import Database
from storage.records import DocumentRecord
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness

DOCUMENTS = 3
HOUR_S = 3_600


def _rows(database: Database, job_id: UUID) -> int:
    """Return how many document rows the job has of its own."""
    with database.transaction() as transaction:
        query = "SELECT count(*) AS number FROM documents WHERE job_id = %(id)s"
        return int(transaction.only(query, id=job_id)["number"])


def _documents(database: Database, job_id: UUID, client: str = CLIENT) -> list[DocumentRecord]:
    return document_queries.page(database, client, DocumentFilter(job_id), 100)[0]


def _facts(documents: list[DocumentRecord], job_id: UUID) -> list[DocumentRecord]:
    return [replace(document, job_id=job_id, attempt_count=0) for document in documents]


def _started(pipeline: PipelineHarness, number: str, source: UUID) -> UUID:
    """Start a job as a server does that has looked at the listing of job `source`."""
    listing = listing_cache.listing_of(pipeline.database, CLIENT, source)
    stored = listing_cache.with_stored(pipeline.database, pipeline.lister.objects, listing)
    wanted = factories.request(number, max_age_s=HOUR_S)
    attempt = StartAttempt(wanted, stored, source, may_look=False)
    [answer] = start_jobs(pipeline.database, [attempt], job_deadline_s=60)
    assert answer.view is not None
    return answer.view.job.job_id


def test_a_job_of_an_unchanged_case_has_the_documents_and_no_rows(
    pipeline: PipelineHarness,
) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    first = pipeline.run(number)
    # One by the worker, two by the server, each from the newest listing.
    second = pipeline.run(number, max_age_s=HOUR_S)
    third = _started(pipeline, number, second)
    fourth = _started(pipeline, number, third)

    expected = _documents(database, first)
    for job_id in (second, third, fourth):
        job = factories.job(database, job_id)
        counted = (job["total_documents"], job["completed_documents"], job["reused_documents"])
        assert (job["state"], counted) == ("COMPLETED", (DOCUMENTS,) * 3)
        assert job["stored_bytes"] == factories.job(database, first)["stored_bytes"]
        assert (job["documents_of"], _rows(database, job_id)) == (first, 0)
        assert _documents(database, job_id) == _facts(expected, job_id)
        one = expected[1].document_id
        document, _ = document_queries.get(database, CLIENT, job_id, one)
        assert document == _facts(expected, job_id)[1]
        with pytest.raises(NotFound):
            _documents(database, job_id, "another")
    assert pipeline.sandbox.request_count(number) == 1


def test_a_watcher_of_such_a_job_gets_every_document(pipeline: PipelineHarness) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    first = pipeline.run(number)
    second = pipeline.begin(number, max_age_s=HOUR_S)
    seen = job_queries.get(database, CLIENT, second).job.revision
    pipeline.work()

    watched = watch_queries.read_changes(database, {second: seen})[second]
    found = sorted(watched.documents, key=lambda document: document.position)
    assert found == _facts(_documents(database, first), second)
    assert max(document.revision for document in found) < watched.view.job.revision


def test_a_job_that_a_watcher_saw_beyond_the_documents_gets_rows(
    pipeline: PipelineHarness,
) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    pipeline.run(number)
    second = pipeline.begin(number, max_age_s=HOUR_S)
    factories.execute(database, "UPDATE jobs SET revision = 1000 WHERE job_id = %(id)s", id=second)
    pipeline.work()

    watched = watch_queries.read_changes(database, {second: 1000})[second]
    assert (len(watched.documents), _rows(database, second)) == (DOCUMENTS, DOCUMENTS)


def test_the_event_of_such_a_job_has_its_documents(pipeline: PipelineHarness) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    pipeline.run(number)
    second = pipeline.run(number, max_age_s=HOUR_S, webhook_url="https://hooks.example.com/in")

    [event] = factories.events(database, second)
    assert _rows(database, second) == 0
    assert {(one["job_id"], one["attempt_count"]) for one in event["documents"]} == {
        (str(second), 0)
    }
    assert [one["object_key"] for one in event["documents"]] == [
        document.object_key for document in _documents(database, second)
    ]


def test_a_job_of_a_case_that_is_not_stored_as_before_gets_rows(pipeline: PipelineHarness) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    first = pipeline.run(number)
    key = _documents(database, first)[0].object_key
    assert key
    pipeline.lister.objects.delete([key])

    second = pipeline.run(number, max_age_s=HOUR_S)
    assert factories.job(database, second)["documents_of"] is None
    assert (_rows(database, second), pipeline.sandbox.request_count(number)) == (DOCUMENTS, 1)


@pytest.mark.parametrize("client", [CLIENT, "another"])
def test_a_listing_of_a_failed_document_or_of_another_client_is_copied(
    pipeline: PipelineHarness, client: str
) -> None:
    faults = {1: "file-404"} if client == CLIENT else {}
    number = pipeline.sandbox.add_case(documents=DOCUMENTS, faults=faults)
    other = pipeline.begin(number, client) if client != CLIENT else None
    pipeline.run(number)
    second = other or pipeline.run(number, client, max_age_s=HOUR_S)

    assert _rows(pipeline.database, second) == DOCUMENTS


def test_a_retry_of_such_a_job_has_nothing_to_do(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=DOCUMENTS)
    pipeline.run(number)
    second = pipeline.run(number, max_age_s=HOUR_S)

    retry = partial(
        reruns.rerun, pipeline.database, pipeline.lister.objects, CLIENT, second, request_id=None
    )
    with pytest.raises(PreconditionFailed) as refused:
        retry(job_deadline_s=60, limit_s=10)
    assert refused.value.reason == "NOTHING_TO_RETRY"


def test_a_later_listing_is_compared_with_such_a_jobs_documents(pipeline: PipelineHarness) -> None:
    database, number = pipeline.database, pipeline.sandbox.add_case(documents=DOCUMENTS)
    pipeline.run(number)
    second = pipeline.run(number, max_age_s=HOUR_S)
    claim = factories.listing_claim(database, pipeline.begin(number))
    listing = listing_cache.listing_of(database, CLIENT, second)
    fewer = replace(listing, items=listing.items[:-1], listed_time=None)

    assert listing_cache.compared(database, CLIENT, number, fewer)[1] == 1
    listing_record.record(database, claim, fewer)

    job = factories.job(database, claim.job_id)
    assert job["vanished_document_ids"] == [listing.items[-1].document_id]


def test_the_rows_of_a_job_stay_while_another_job_refers_to_them(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=DOCUMENTS)
    first = pipeline.run(number)
    second = pipeline.run(number, max_age_s=HOUR_S)
    delete = "DELETE FROM jobs WHERE job_id = %(id)s"

    with pytest.raises(peewee.IntegrityError):
        factories.execute(pipeline.database, delete, id=first)
    for job_id in (second, first):
        factories.execute(pipeline.database, delete, id=job_id)
