"""Test that a text without a listed size is compared with another, as nothing else proves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.portal.doubts import ALIKE_MAX
from storage.postgres.database import Database, Row
from storage.records import DocumentRecord
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline

AVAILABLE, FAILED = "AVAILABLE", "FAILED"


@pytest.fixture(params=["spool", "memory"])
def pipeline(
    request: pytest.FixtureRequest,
    database: Database,
    objects: Objects,
    redis_url: str,
    spool: Spool,
) -> Iterator[PipelineHarness]:
    """Yield a pipeline that uploads from its spool, and one that uploads from memory."""
    with running_pipeline(database, objects, redis_url, spool) as pipeline:
        yield pipeline.by_spool() if request.param == "spool" else pipeline


def _run(pipeline: PipelineHarness, number: str) -> list[Row]:
    job_id = pipeline.run(number)
    assert factories.job(pipeline.database, job_id)["end_time"] is not None
    return factories.documents(pipeline.database, job_id)


def _first_answers(pipeline: PipelineHarness, job_id: UUID, documents: int) -> None:
    """Request each document once, before the first is due again."""
    policy = replace(factories.POLICY, base_s=1_000.0)
    patient = pipeline.with_fetcher(policy=policy)
    for _ in range(documents):
        patient.download(job_id)
    factories.execute(
        pipeline.database,
        "UPDATE documents SET not_before = clock_timestamp() WHERE job_id = %(id)s"
        " AND doubted_sha256 IS NOT NULL",
        id=job_id,
    )


def _is_unverified(row: Row) -> bool:
    return DocumentRecord.of(row).is_unverified


def test_an_html_document_without_a_size_is_requested_twice_and_unverified(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=3, kind="html", has_arquivo=False)
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 3
    assert all(map(_is_unverified, rows))
    assert pipeline.requested_files(number) == [2, 2, 2]
    # A comparison is no failed attempt.
    assert [row["attempt_count"] for row in rows] == [1, 1, 1]
    assert {row["error_reason"] for row in rows} == {None}


@pytest.mark.parametrize("kind", ["pdf", "rtf", "png", "zip"])
def test_what_is_no_text_is_requested_once(pipeline: PipelineHarness, kind: str) -> None:
    number = pipeline.sandbox.add_case(documents=2, kind=kind, has_arquivo=False)
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 2
    assert not any(map(_is_unverified, rows))
    assert pipeline.requested_files(number) == [1, 1]


def test_a_text_of_its_listed_size_is_requested_once(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=2, kind="html")
    rows = _run(pipeline, number)
    assert not any(map(_is_unverified, rows))
    assert pipeline.requested_files(number) == [1, 1]


@pytest.mark.parametrize("page", ["block-page", "block-text"])
def test_a_page_in_the_place_of_all_documents_is_none_of_them(
    pipeline: PipelineHarness, page: str
) -> None:
    faults = dict.fromkeys(range(12), page)
    number = pipeline.sandbox.add_case(documents=12, kind="html", has_arquivo=False, faults=faults)
    # All are requested once before the first is requested again.
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    _first_answers(pipeline, job_id, 12)
    pipeline.work()
    rows = factories.documents(pipeline.database, job_id)
    assert {(row["state"], row["error_reason"]) for row in rows} == {(FAILED, "NOT_A_DOCUMENT")}
    assert pipeline.requested_files(number) == [1 + factories.POLICY.attempts_few] * 12


def test_of_a_page_in_the_place_of_all_few_are_stored_and_none_silently(
    pipeline: PipelineHarness,
) -> None:
    faults = dict.fromkeys(range(12), "block-page")
    number = pipeline.sandbox.add_case(documents=12, kind="html", has_arquivo=False, faults=faults)
    # Each document is requested until it ends before the next one is requested at all.
    rows = _run(pipeline, number)
    stored = [row for row in rows if row["state"] == AVAILABLE]
    assert all(map(_is_unverified, stored))
    assert len(stored) <= ALIKE_MAX
    assert {row["error_reason"] for row in rows[ALIKE_MAX:]} == {"NOT_A_DOCUMENT"}


def test_a_page_in_place_of_the_first_answer_is_not_stored(pipeline: PipelineHarness) -> None:
    for page in ("block-page-once", "block-page-twice"):
        faults = dict.fromkeys(range(4), page)
        number = pipeline.sandbox.add_case(
            documents=4, kind="html", has_arquivo=False, faults=faults
        )
        case = pipeline.sandbox.case(number)
        assert case
        rows = _run(pipeline, number)
        assert [row["state"] for row in rows] == [AVAILABLE] * 4
        if page == "block-page-once":
            assert [row["size_bytes"] for row in rows] == [d.size_bytes for d in case.documents]


def test_a_page_that_is_another_each_time_is_no_document(pipeline: PipelineHarness) -> None:
    faults = {0: "changing-page"}
    number = pipeline.sandbox.add_case(documents=1, kind="html", has_arquivo=False, faults=faults)
    (row,) = _run(pipeline, number)
    assert (row["state"], row["error_reason"]) == (FAILED, "NOT_A_DOCUMENT")
    assert pipeline.requested_files(number) == [1 + factories.POLICY.attempts]


def test_a_text_that_two_documents_share_is_stored_with_its_doubt(
    pipeline: PipelineHarness,
) -> None:
    faults = {0: "same-fragment", 1: "same-fragment"}
    number = pipeline.sandbox.add_case(documents=3, kind="html", has_arquivo=False, faults=faults)
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 3
    assert all(map(_is_unverified, rows))
    assert rows[0]["sha256"] == rows[1]["sha256"]
    assert rows[0]["content_type"] == "text/html;charset=utf-8"


def test_a_file_that_came_before_in_its_case_is_requested_again(pipeline: PipelineHarness) -> None:
    faults = {0: "same-pdf", 2: "same-pdf-once"}
    number = pipeline.sandbox.add_case(documents=3, kind="pdf", has_arquivo=False, faults=faults)
    case = pipeline.sandbox.case(number)
    assert case
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 3
    assert pipeline.requested_files(number) == [1, 1, 2]
    assert not any(map(_is_unverified, rows))
    assert rows[2]["size_bytes"] == case.documents[2].size_bytes


def test_files_with_the_same_bytes_are_stored_with_their_doubt(pipeline: PipelineHarness) -> None:
    faults = dict.fromkeys((0, 2, 3, 4), "same-pdf")
    number = pipeline.sandbox.add_case(documents=5, kind="pdf", has_arquivo=False, faults=faults)
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 5
    # The first one was stored before anything was wrong with it.
    assert pipeline.requested_files(number) == [1, 1, 2, 2, 2]
    assert [_is_unverified(row) for row in rows] == [True, False, True, True, True]
    assert len({row["revision"] for row in rows}) == 5
    job = factories.job(pipeline.database, rows[0]["job_id"])
    assert max(row["revision"] for row in rows) == job["revision"] - 1


def test_files_with_the_same_bytes_and_listed_sizes_are_verified(pipeline: PipelineHarness) -> None:
    faults = {0: "same-pdf", 1: "same-pdf"}
    number = pipeline.sandbox.add_case(documents=2, kind="pdf", size=3_000, faults=faults)
    rows = _run(pipeline, number)
    assert rows[0]["sha256"] == rows[1]["sha256"]
    assert not any(map(_is_unverified, rows))


def test_a_file_without_its_end_is_requested_twice_and_unverified(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(
        documents=2, kind="zip", has_arquivo=False, faults={0: "half-in-order"}
    )
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [AVAILABLE] * 2
    assert [_is_unverified(row) for row in rows] == [True, False]
    assert pipeline.requested_files(number) == [2, 1]


def test_a_page_in_place_of_what_is_named_as_something_else_is_none(
    pipeline: PipelineHarness,
) -> None:
    faults = {0: "block-page", 1: "block-text"}
    number = pipeline.sandbox.add_case(documents=3, kind="pdf", has_arquivo=False, faults=faults)
    rows = _run(pipeline, number)
    assert [row["state"] for row in rows] == [FAILED, FAILED, AVAILABLE]
    assert [row["error_reason"] for row in rows[:2]] == ["NOT_A_DOCUMENT"] * 2


def test_a_doubt_goes_along_with_what_is_taken_over(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=2, kind="html", has_arquivo=False)
    assert all(map(_is_unverified, _run(pipeline, number)))
    rows = _run(pipeline, number)
    assert all(row["is_reused"] for row in rows)
    assert all(map(_is_unverified, rows))
    assert pipeline.requested_files(number) == [2, 2]


def test_a_second_answer_comes_later(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=1, kind="html", has_arquivo=False)
    policy = replace(factories.POLICY, base_s=1_000.0)
    patient = pipeline.with_fetcher(policy=policy)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    patient.download(job_id)
    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["error_reason"]) == ("PENDING", 0, None)
    assert (row["lease"], row["sha256"], row["spool_id"]) == (None, None, None)
    assert row["not_before"] is not None
    assert row["doubted_sha256"] is not None
    # No document is requested before its time.
    patient.download(job_id)
    assert pipeline.requested_files(number) == [1]
    factories.execute(
        pipeline.database,
        "UPDATE documents SET not_before = clock_timestamp() WHERE job_id = %(id)s",
        id=job_id,
    )
    patient.download(job_id)
    assert pipeline.requested_files(number) == [2]
    (row,) = factories.documents(pipeline.database, job_id)
    assert row["state"] == "DOWNLOADED"


def test_a_text_keeps_its_charset_in_row_and_object(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    number = pipeline.sandbox.add_case(
        documents=1, kind="html", has_arquivo=False, faults={0: "windows-1252"}
    )
    (row,) = _run(pipeline, number)
    assert row["content_type"] == "text/html;charset=windows-1252"
    client = store.client(store.endpoint_url)
    stored = client.stat_object(store.bucket, row["object_key"])
    assert stored.content_type == "text/html;charset=windows-1252"
    assert row["object_key"].endswith(".html")


def test_the_event_of_a_job_lists_what_is_unverified(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(
        documents=2, kind="html", has_arquivo=False, faults={1: "windows-1252"}
    )
    job_id = pipeline.run(number, webhook_url="https://hooks.invalid/x")
    (event,) = factories.events(pipeline.database, job_id)
    snapshots = [DocumentRecord.of_json(document) for document in event["documents"]]
    assert [record.is_unverified for record in snapshots] == [True, True]
