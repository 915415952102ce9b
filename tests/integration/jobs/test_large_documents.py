"""Test that a document with a listed size above the limit is never requested."""

from __future__ import annotations

from uuid import UUID

import pytest

from actors.contents.content_checks import refuse_too_large
from storage.errors import PermanentError, PreconditionFailed
from storage.jobs import reruns
from storage.listings import listing_cache, listing_record
from storage.listings.listed_case import CaseListing
from storage.listings.listing_import import ListingImport
from storage.listings.size_limits import SizeLimits
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.records import JobView
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.scheduler_driver import ask_all, context

LIMITS = SizeLimits(document_bytes=10_000, spool_bytes=8_000)
REFUSED = SizeLimits(document_bytes=19_999)


def _listed(database: Database, *sizes: int | None, limits: SizeLimits = LIMITS) -> UUID:
    """Return a job with documents of these listed sizes."""
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)
    documents = (factories.listed(i, listed_size_bytes=size) for i, size in enumerate(sizes))
    case = CaseListing(0, tuple(documents))
    listing = ListingImport.of(CLIENT, claim.process_number, case)
    listing_record.record(database, claim, listing, limits=limits)
    return view.job.job_id


def _rerun(database: Database, objects: Objects, job_id: UUID, limits: SizeLimits) -> JobView:
    view, _ = reruns.rerun(
        database,
        objects,
        CLIENT,
        job_id,
        request_id=None,
        job_deadline_s=60,
        limit_s=60,
        size_limits=limits,
    )
    return view


def _states(database: Database, job_id: UUID) -> list[str]:
    return [d["state"] for d in factories.documents(database, job_id)]


def test_what_is_listed_above_a_limit_fails_with_the_listing(database: Database) -> None:
    job_id = _listed(database, 8_000, 8_001, None, 10_001)

    rows = factories.documents(database, job_id)
    assert [d["state"] for d in rows] == ["PENDING", "FAILED", "PENDING", "FAILED"]
    assert [d["error_reason"] for d in rows] == [None, "TOO_LARGE", None, "TOO_LARGE"]
    assert [d["error_message"] for d in rows] == [
        None,
        "The document is larger than the spool.",
        None,
        "The document is larger than the 10000 bytes allowed.",
    ]
    assert {d["error_is_retryable"] for d in rows} == {None, False}
    assert factories.job(database, job_id)["failed_documents"] == 2
    # It takes no slot, is not charged to the queue and needs no claim.
    assert len(ask_all(database, context())) == 2


def test_a_case_of_nothing_else_fails_when_it_is_listed(database: Database) -> None:
    job_id = _listed(database, 10_001, 20_000)

    job = factories.job(database, job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "NO_DOCUMENT_AVAILABLE")
    assert "TOO_LARGE" in job["error_message"]


def test_the_message_is_that_of_a_document_that_turns_out_too_large() -> None:
    refusal = LIMITS.refusal(10_001)

    with pytest.raises(PermanentError) as caught:
        refuse_too_large(10_001, 10_000)
    assert caught.value.as_failure() == refusal


def test_a_listing_taken_over_is_judged_by_the_present_limits(database: Database) -> None:
    first = _listed(database, 500, 10_001)
    listing = listing_cache.listing_of(database, CLIENT, first)
    assert [item.refusal(LIMITS) is None for item in listing.items] == [True, False]
    assert [item.refusal(SizeLimits(20_000)) for item in listing.items] == [None, None]


def test_a_retry_leaves_what_is_still_too_large(database: Database, objects: Objects) -> None:
    job_id = _listed(database, 10_001)

    with pytest.raises(PreconditionFailed) as caught:
        _rerun(database, objects, job_id, LIMITS)

    assert caught.value.reason == "NOTHING_TO_RETRY"
    assert _states(database, job_id) == ["FAILED"]


def test_a_retry_after_the_limit_was_raised_requests_it(
    database: Database, objects: Objects
) -> None:
    job_id = _listed(database, 10_001, 30_000, None)
    factories.store_next(database, job_id)
    assert factories.job(database, job_id)["state"] == "PARTIALLY_COMPLETED"

    view = _rerun(database, objects, job_id, SizeLimits(document_bytes=20_000))

    assert view.job.state == "PROCESSING"
    assert _states(database, job_id) == ["PENDING", "FAILED", "AVAILABLE"]


def test_a_worker_applies_its_limits(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=2, size=20_000)

    job_id = pipeline.with_lister(size_limits=REFUSED).run(number)

    assert factories.job(pipeline.database, job_id)["state"] == "FAILED"
    assert pipeline.requested_files(number) == [0, 0]
