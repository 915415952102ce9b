"""Test slices: requests come first, uploads afterwards; unstarted documents are given back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from actors.hints.hints import Ended, SliceBegun, SlotFreed
from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.slices import START_WITHIN_S
from dev.processes.deadline import until
from storage.documents.leases import renew_leases
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.objects.store_address import ObjectStore
from storage.portal.slots import court_of
from storage.postgres.database import Row
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, held_slots
from tests.integration.harness.pipeline_harness import LEASE_S, PipelineHarness
from tests.integration.harness.pipeline_hooks import HookedDatabase, HookedObjects, hooked_fetcher

DOCUMENTS = 4
WAIT_S = 60.0
# Fields that a claim changes and a release resets.
UNTOUCHED = {
    "state": "PENDING",
    "lease": None,
    "slice": None,
    "slice_size": None,
    "attempt_count": 0,
    "lost_lease_count": 0,
    "not_before": None,
}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), 2**32)


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Yield an executor with threads beside the test's own."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _listed(pipeline: PipelineHarness, **case: Any) -> tuple[str, UUID]:
    """Return a case of a fast court and its job with waiting documents."""
    number = pipeline.sandbox.add_case(**{"documents": DOCUMENTS, **case})
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    factories.make_quick(pipeline.database, court_of(number))
    return number, job_id


def _rows(pipeline: PipelineHarness, job_id: UUID) -> list[Row]:
    return factories.documents(pipeline.database, job_id)


def _states(pipeline: PipelineHarness, job_id: UUID) -> list[str]:
    return [row["state"] for row in _rows(pipeline, job_id)]


def _is_untouched(row: Row) -> bool:
    return {name: row[name] for name in UNTOUCHED} == UNTOUCHED


def _started(
    pool: ThreadPoolExecutor, pipeline: PipelineHarness, job_id: UUID, count: int = DOCUMENTS
) -> Future[None]:
    """Run a slice in another thread."""
    return pool.submit(pipeline.run_slice, pipeline.slice_of(job_id, count))


def _fetching(pipeline: PipelineHarness, after_first: Callable[[], object]) -> PipelineHarness:
    """Return a pipeline that calls `after_first` at the first answer of a slice."""
    calls = [after_first]
    fetcher = hooked_fetcher(pipeline.slices.fetcher, lambda _: calls and calls.pop()())
    return pipeline.with_slices(fetcher=fetcher)


def test_a_slice_makes_its_requests_first_and_its_puts_afterwards(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    number, job_id = _listed(pipeline)
    requests_before_put: list[int] = []

    def note(_: object) -> None:
        requests_before_put.append(sum(pipeline.requested_files(number)))

    pipeline.with_bucket(HookedObjects(store, before_put=note)).download(job_id, DOCUMENTS)

    assert requests_before_put == [DOCUMENTS] * DOCUMENTS
    rows = _rows(pipeline, job_id)
    assert {(row["state"], row["attempt_count"]) for row in rows} == {("AVAILABLE", 1)}
    assert len({row["revision"] for row in rows}) == DOCUMENTS
    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
    assert pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(pipeline.database) == 0


@pytest.mark.parametrize("fault", ["file-404", "codex-500", "503-once", "too-fast"])
def test_the_first_answer_that_is_no_good_file_ends_the_slice(
    pipeline: PipelineHarness, fault: str
) -> None:
    number, job_id = _listed(pipeline, faults={1: fault})
    pipeline.hinted()

    pipeline.download(job_id, DOCUMENTS)

    good, bad, *rest = _rows(pipeline, job_id)
    assert (good["state"], bad["state"] in {"FAILED", "PENDING"}) == ("AVAILABLE", True)
    assert all(_is_untouched(row) for row in rest)
    assert pipeline.requested_files(number) == [1, 1, 0, 0]
    # If the store is slow, the worker reports its slot before the end.
    begun, ended = (hint for hint in pipeline.hinted() if not isinstance(hint, SlotFreed))
    assert isinstance(begun, SliceBegun)
    assert isinstance(ended, Ended)
    assert len(begun.documents) == DOCUMENTS
    assert set(ended.returned) == {row["document_id"] for row in rest}
    assert held_slots(pipeline.database, longer_than_s=2) == 0


def test_what_has_not_begun_soon_after_the_claim_is_given_back_while_a_request_goes_on(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    number, job_id = _listed(pipeline)
    pipeline.sandbox.hold(number)

    with capture_logs() as logs:
        running = _started(beside, pipeline.with_slices(start_within_s=START_WITHIN_S), job_id)
        until(
            lambda: _states(pipeline, job_id) == ["DOWNLOADING", *["PENDING"] * 3],
            WAIT_S,
            "the rest is not given back",
        )
        assert not running.done()
        pipeline.sandbox.release(number)
        running.result(WAIT_S)

    first, *rest = _rows(pipeline, job_id)
    assert first["state"] == "AVAILABLE"
    assert all(_is_untouched(row) for row in rest)
    assert pipeline.requested_files(number) == [1, 0, 0, 0]
    assert not [line for line in logs if line["event"] == "lease lost"]


def test_a_request_that_takes_long_holds_up_no_file_that_was_fetched_before(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    number, job_id = _listed(pipeline)
    holding = _fetching(pipeline, lambda: pipeline.sandbox.hold(number))
    # Long enough for a busy machine to begin the second request.
    running = _started(beside, holding.with_slices(start_within_s=3.0), job_id)
    pipeline.sandbox.wait_held(number)

    until(
        lambda: _states(pipeline, job_id) == ["AVAILABLE", "DOWNLOADING", "PENDING", "PENDING"],
        WAIT_S,
        "the first file waits for the second request",
    )
    assert not running.done()
    pipeline.sandbox.release(number)
    running.result(WAIT_S)

    assert _states(pipeline, job_id) == ["AVAILABLE", "AVAILABLE", "PENDING", "PENDING"]
    assert pipeline.requested_files(number) == [1, 1, 0, 0]


def test_what_waits_for_the_moment_that_the_rate_reserved_is_not_given_back(
    pipeline: PipelineHarness,
) -> None:
    number, job_id = _listed(pipeline, documents=2)
    slice_ = replace(pipeline.slice_of(job_id, 2), every_s=2.5)

    pipeline.with_slices(start_within_s=2.0).run_slice(slice_)

    assert pipeline.requested_files(number) == [1, 1]


def test_a_claim_that_was_answered_late_makes_no_request(pipeline: PipelineHarness) -> None:
    number, job_id = _listed(pipeline)
    slice_ = pipeline.slice_of(job_id, DOCUMENTS)

    pipeline.slices.run(slice_, proposal_id=None, claimed_at=monotonic() - 40)

    assert all(_is_untouched(row) for row in _rows(pipeline, job_id))
    assert pipeline.requested_files(number) == [0] * DOCUMENTS
    assert held_slots(pipeline.database) == 0


def test_a_process_that_stops_gives_everything_back_uncounted(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    number, job_id = _listed(pipeline)
    pipeline.sandbox.hold(number)
    running = _started(beside, pipeline, job_id)
    pipeline.sandbox.wait_held(number)

    pipeline.worker.renewer.stop_all()
    running.result(WAIT_S)

    first, *rest = _rows(pipeline, job_id)
    assert (first["state"], first["attempt_count"], first["lost_lease_count"]) == ("PENDING", 0, 0)
    assert all(_is_untouched(row) for row in rest)
    # The portal still counts the cut request for a moment.
    assert held_slots(pipeline.database, longer_than_s=2) == 0


def test_a_process_that_stops_loses_no_file_that_it_has(pipeline: PipelineHarness) -> None:
    number, job_id = _listed(pipeline)

    _fetching(pipeline, pipeline.worker.renewer.stop_all).download(job_id, DOCUMENTS)

    first, *rest = _rows(pipeline, job_id)
    assert first["state"] in {"AVAILABLE", "DOWNLOADED"}
    assert all(_is_untouched(row) for row in rest)
    assert pipeline.requested_files(number) == [1, 0, 0, 0]


def test_a_document_that_was_tried_before_is_due_again_when_it_is_given_back(
    pipeline: PipelineHarness,
) -> None:
    _, job_id = _listed(pipeline, documents=1)
    factories.execute(
        pipeline.database, "UPDATE documents SET attempt_count = 1, not_before = clock_timestamp()"
    )
    (before,) = _rows(pipeline, job_id)
    slice_ = pipeline.slice_of(job_id)

    pipeline.slices.run(slice_, proposal_id=None, claimed_at=monotonic() - 40)

    (row,) = _rows(pipeline, job_id)
    assert {**row, "revision": before["revision"]} == before
    assert pipeline.slice_of(job_id).documents[0].document_id == row["document_id"]


def test_a_pause_that_another_slice_has_met_ends_this_one(pipeline: PipelineHarness) -> None:
    number, job_id = _listed(pipeline)
    _, refused = _listed(pipeline, documents=1, faults={0: "too-fast"})

    _fetching(pipeline, lambda: pipeline.download(refused)).download(job_id, DOCUMENTS)

    first, *rest = _rows(pipeline, job_id)
    assert first["state"] == "AVAILABLE"
    assert all(_is_untouched(row) for row in rest)
    assert pipeline.requested_files(number) == [1, 0, 0, 0]
    # A slice that is claimed after the pause goes on.
    factories.age_portal(pipeline.database, 60)
    pipeline.download(job_id, DOCUMENTS)
    assert pipeline.requested_files(number) == [1] * DOCUMENTS


def test_a_bucket_that_does_not_answer_takes_no_time_of_the_portal(
    pipeline: PipelineHarness, store: ObjectStore, beside: ThreadPoolExecutor
) -> None:
    number, job_id = _listed(pipeline)
    may_put = threading.Event()
    slow = HookedObjects(store, before_put=lambda _: may_put.wait(WAIT_S))

    running = _started(beside, pipeline.with_bucket(slow), job_id)
    until(lambda: held_slots(pipeline.database) == 0, WAIT_S, "the slots stay taken")
    assert not running.done()
    assert sum(pipeline.requested_files(number)) == DOCUMENTS
    assert set(_states(pipeline, job_id)) == {"DOWNLOADING"}
    may_put.set()
    running.result(WAIT_S)

    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"


def test_what_waits_for_its_put_keeps_its_lease(
    pipeline: PipelineHarness, store: ObjectStore, beside: ThreadPoolExecutor
) -> None:
    _, job_id = _listed(pipeline)
    has_begun, may_put = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        has_begun.set()
        may_put.wait(WAIT_S)

    slow = HookedObjects(store, before_put=wait)
    running = _started(beside, pipeline.with_bucket(slow), job_id)
    assert has_begun.wait(WAIT_S)
    before = [row["lease_until"] for row in _rows(pipeline, job_id)]

    def are_renewed() -> bool:
        now = [row["lease_until"] for row in _rows(pipeline, job_id)]
        return all(then < later for then, later in zip(before, now, strict=True))

    until(are_renewed, WAIT_S, "not all leases are renewed")
    may_put.set()
    running.result(WAIT_S)

    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"


def test_without_a_hint_a_cancelled_job_ends_its_slice_and_the_request_that_is_under_way(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    number, job_id = _listed(pipeline)
    pipeline.sandbox.hold(number)
    running = _started(beside, pipeline, job_id)
    pipeline.sandbox.wait_held(number)

    job_queries.cancel(pipeline.database, CLIENT, job_id)
    running.result(WAIT_S)

    assert set(_states(pipeline, job_id)) == {"CANCELLED"}
    assert pipeline.requested_files(number) == [1, 0, 0, 0]
    assert held_slots(pipeline.database, longer_than_s=2) == 0


def test_without_a_hint_a_job_that_is_cancelled_between_two_requests_makes_no_further_one(
    pipeline: PipelineHarness,
) -> None:
    number, job_id = _listed(pipeline)
    renewals: list[set[UUID]] = []

    def renew(leases: set[UUID]) -> set[UUID]:
        renewals.append(leases)
        return renew_leases(pipeline.database, leases, lease_s=LEASE_S)

    def cancel() -> None:
        job_queries.cancel(pipeline.database, CLIENT, job_id)
        # The next renewal finds the leases lost; they are dropped when another slice begins.
        count = len(renewals) + 2
        until(lambda: len(renewals) >= count, WAIT_S, "leases are not renewed")

    renewer = LeaseRenewer(renew, lease_s=LEASE_S)
    fetching = _fetching(pipeline, cancel)
    fetcher = replace(fetching.slices.fetcher, renewer=renewer)
    fetching.with_slices(renewer=renewer, fetcher=fetcher).download(job_id, DOCUMENTS)

    assert pipeline.requested_files(number) == [1, 0, 0, 0]
    assert set(_states(pipeline, job_id)) == {"CANCELLED"}


def test_documents_that_postgresql_does_not_take_back_are_given_back_later(
    pipeline: PipelineHarness, database_url: str
) -> None:
    number, job_id = _listed(pipeline, faults={1: "file-404"})
    refusals = [ServiceUnavailable("PostgreSQL")]

    def refuse_once(function: str, _: object) -> None:
        if "return_documents" in function and refusals:
            raise refusals.pop()

    flaky = HookedDatabase(database_url, refuse_once)
    pipeline.with_slices(database=flaky).download(job_id, DOCUMENTS)
    flaky.close()

    good, _, *rest = _rows(pipeline, job_id)
    assert not refusals
    assert good["state"] == "AVAILABLE"
    assert all(_is_untouched(row) for row in rest)
    assert pipeline.requested_files(number) == [1, 1, 0, 0]
