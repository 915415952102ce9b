"""Test a worker's handling of old, repeated and forged proposals, and the hints it sends."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.hints.hints import (
    PROPOSAL_AGE_S,
    Ended,
    Hint,
    JobEnded,
    JobWanted,
    ProposalRefused,
    SliceBegun,
    SlotFreed,
)
from actors.pipeline.listing_step import ListedCase, Lister
from storage.jobs import job_queries
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits, court_of
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.pipeline_harness import PipelineHarness

AWAY = "postgresql://nobody@127.0.0.1:1/nothing"
# The worker's clock of Valkey stands at 0.
TOO_OLD_MS = -round(PROPOSAL_AGE_S * 1000) - 1


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), 2**32)


def _listed(pipeline: PipelineHarness, documents: int = 1) -> tuple[str, UUID]:
    """Return a case and its job with waiting documents."""
    number = pipeline.sandbox.add_case(documents=documents)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    pipeline.hinted()
    return number, job_id


def _listed_by(pipeline: PipelineHarness, kind: type[Lister], documents: int) -> tuple[str, UUID]:
    """Let a lister of this kind list a new case, and go on. Return the case and its job."""
    number = pipeline.sandbox.add_case(documents=documents)
    job_id = pipeline.begin(number)
    lister = kind(**{each.name: getattr(pipeline.lister, each.name) for each in fields(Lister)})
    replace(pipeline.worker, lister=lister).begin(job_id, 1, uuid4(), 0, goes_on=True)
    return number, job_id


def _answer(pipeline: PipelineHarness, job_id: UUID, *, sent_ms: int = 0) -> list[Hint]:
    """Return the worker's hint after a proposal for one request."""
    pipeline.worker.begin(job_id, 1, uuid4(), sent_ms)
    return pipeline.hinted()


def test_a_proposal_is_answered_with_what_begins_and_with_its_end(
    pipeline: PipelineHarness,
) -> None:
    number, job_id = _listed(pipeline, documents=2)
    proposal_id = uuid4()

    pipeline.worker.begin(job_id, 1, proposal_id, 0)

    # If the store is slow, the worker reports its slot before the end.
    begun, ended = (hint for hint in pipeline.hinted() if not isinstance(hint, SlotFreed))
    assert isinstance(begun, SliceBegun)
    assert isinstance(ended, Ended)
    assert (begun.proposal_id, begun.job_id, begun.has_more) == (proposal_id, job_id, True)
    assert begun.token == ended.token
    assert pipeline.requested_files(number) == [1, 0]
    first, _ = factories.documents(pipeline.database, job_id)
    assert begun.documents == (first["document_id"],)
    assert first["state"] == "AVAILABLE"


def test_a_proposal_of_a_listing_is_answered_and_the_job_is_hinted_again(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    job_id = pipeline.begin(number)

    begun, ended, wanted = _answer(pipeline, job_id)

    assert isinstance(begun, SliceBegun)
    assert isinstance(ended, Ended)
    assert isinstance(wanted, JobWanted)
    assert (wanted.job.job_id, wanted.job.needs_listing, wanted.job.fresh) == (job_id, False, 3)


def test_a_listing_goes_on_with_the_first_document(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    job_id = pipeline.begin(number)

    pipeline.worker.begin(job_id, 1, uuid4(), 0, goes_on=True)

    assert pipeline.requested_files(number) == [1, 0, 0]
    hints = [hint for hint in pipeline.hinted() if not isinstance(hint, SlotFreed)]
    listing, listed, wanted, begun, ended = hints
    assert isinstance(listing, SliceBegun)
    assert isinstance(listed, Ended)
    assert listing.token == listed.token
    # The scheduler reads about the slice no later than about the freed slot of the listing.
    assert isinstance(wanted, JobWanted)
    assert isinstance(begun, SliceBegun)
    assert isinstance(ended, Ended)
    assert (wanted.job.fresh, wanted.job.slices) == (2, frozenset({begun.token}))
    assert (begun.proposal_id, begun.has_more) == (None, True)
    assert begun.token == ended.token


def test_a_listing_goes_on_with_nothing_that_may_not_begin(pipeline: PipelineHarness) -> None:
    class Cancelling(Lister):
        def list_case(self, claim: ListingClaim, **how: Any) -> ListedCase:
            listed = super().list_case(claim, **how)
            job_queries.cancel(self.database, factories.CLIENT, claim.job_id)
            return listed

    number, _ = _listed_by(pipeline, Cancelling, documents=3)

    listing, listed = pipeline.hinted()
    assert isinstance(listing, SliceBegun)
    assert isinstance(listed, Ended)
    assert listing.token == listed.token
    assert pipeline.requested_files(number) == [0, 0, 0]


def test_what_begins_tells_the_scheduler_how_far_the_rate_is_reserved(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    job_id = pipeline.begin(number)
    factories.make_quick(pipeline.database, court_of(number))
    limits = replace(pipeline.worker.context.limits, per_minute=6_000)
    limited = pipeline.with_limits(limits)

    for count in (1, 3):
        limited.worker.begin(job_id, count, uuid4(), 0)
        begun = next(hint for hint in pipeline.hinted() if isinstance(hint, SliceBegun))
        with pipeline.database.transaction() as transaction:
            reserved = transaction.only("SELECT next_request_time FROM portal")
        assert begun.next_request_at == reserved["next_request_time"].timestamp()


def test_a_claimed_document_is_requested_although_the_end_of_its_listing_cannot_be_read(
    pipeline: PipelineHarness,
) -> None:
    away = replace(pipeline.lister, database=Database(AWAY, max_connections=1))

    class CutOff(Lister):
        def send_end(self, claim: ListingClaim, listed: ListedCase) -> None:
            away.send_end(claim, listed)

    number, job_id = _listed_by(pipeline, CutOff, documents=2)

    assert pipeline.requested_files(number) == [1, 0]
    listing, listed, begun, ended = (
        hint for hint in pipeline.hinted() if not isinstance(hint, SlotFreed)
    )
    assert isinstance(listing, SliceBegun)
    assert isinstance(listed, Ended)
    assert isinstance(begun, SliceBegun)
    assert isinstance(ended, Ended)
    assert (listing.token, begun.token) == (listed.token, ended.token)
    first, _ = factories.documents(pipeline.database, job_id)
    assert (first["state"], first["attempt_count"]) == ("AVAILABLE", 1)


def test_a_stopping_worker_lists_a_case_and_claims_no_document_of_it(
    pipeline: PipelineHarness,
) -> None:
    class Stopping(Lister):
        def list_case(self, claim: ListingClaim, **how: Any) -> ListedCase:
            listed = super().list_case(claim, **how)
            self.renewer.stop_all()
            return listed

    _, job_id = _listed_by(pipeline, Stopping, documents=1)

    assert [type(hint) for hint in pipeline.hinted()] == [SliceBegun, Ended, JobWanted]
    (document,) = factories.documents(pipeline.database, job_id)
    assert document["state"] == "PENDING"


def test_a_worker_without_room_in_its_spool_lists_a_case_and_requests_no_file_of_it(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.begin(number)
    full = pipeline.with_slices(spool=Spool(tmp_path / "full", uuid4(), 1))

    full.worker.begin(job_id, 1, uuid4(), 0, goes_on=True)

    assert [type(hint) for hint in pipeline.hinted()] == [SliceBegun, Ended, JobWanted]
    assert pipeline.requested_files(number) == [0]


def test_a_proposal_that_is_too_old_is_neither_begun_nor_answered(
    pipeline: PipelineHarness,
) -> None:
    number, job_id = _listed(pipeline)

    assert _answer(pipeline, job_id, sent_ms=TOO_OLD_MS) == []

    assert pipeline.requested_files(number) == [0]
    assert factories.documents(pipeline.database, job_id)[0]["state"] == "PENDING"


def test_a_proposal_that_comes_many_times_has_each_document_requested_once(
    pipeline: PipelineHarness,
) -> None:
    number, job_id = _listed(pipeline, documents=3)
    proposal_id = uuid4()

    run_concurrently([lambda: pipeline.worker.begin(job_id, 1, proposal_id, 0)] * 12)

    # Claims that found the job's row locked were refused, so documents may be left.
    pipeline.work()
    assert pipeline.requested_files(number) == [1, 1, 1]
    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"


def test_a_full_portal_is_answered_without_a_time(pipeline: PipelineHarness) -> None:
    number, job_id = _listed(pipeline)
    full = pipeline.with_limits(Limits(at_once=1, per_court=1, lanes=5))
    _, other = _listed(pipeline)
    full.slice_of(other)

    (refused,) = _answer(full, job_id)

    assert isinstance(refused, ProposalRefused)
    assert refused.scope in {RefusedScope.PORTAL, RefusedScope.COURT}
    assert (refused.until, refused.is_empty) == (None, False)
    assert pipeline.requested_files(number) == [0]


def test_a_job_whose_documents_wait_is_answered_with_their_time(pipeline: PipelineHarness) -> None:
    _, job_id = _listed(pipeline)
    factories.execute(
        pipeline.database, "UPDATE documents SET not_before = clock_timestamp() + interval '1 h'"
    )

    (refused,) = _answer(pipeline, job_id)

    assert isinstance(refused, ProposalRefused)
    assert (refused.scope, refused.is_empty) == (RefusedScope.JOB, True)
    (row,) = factories.documents(pipeline.database, job_id)
    assert refused.until == pytest.approx(row["not_before"].timestamp())


@pytest.mark.parametrize("is_known", [True, False])
def test_a_job_that_is_over_or_unknown_is_answered_as_ended(
    pipeline: PipelineHarness, is_known: bool
) -> None:
    job_id = uuid4()
    if is_known:
        _, job_id = _listed(pipeline)
        job_queries.cancel(pipeline.database, factories.CLIENT, job_id)

    refused, ended = _answer(pipeline, job_id)

    assert isinstance(refused, ProposalRefused)
    assert ended == JobEnded(job_id)


def test_a_worker_that_stops_begins_nothing(pipeline: PipelineHarness) -> None:
    number, job_id = _listed(pipeline)
    pipeline.worker.renewer.stop_all()

    assert _answer(pipeline, job_id) == []

    assert not pipeline.worker.poll(lambda: None)
    assert pipeline.requested_files(number) == [0]
