"""Test that RetryJob requests no document that another job has stored meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from actors.hints.hints import JobEnded
from actors.messaging.enqueuer import WEBHOOK_QUEUE
from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.rpc.service import DownloadService
from storage.errors import PreconditionFailed
from storage.jobs import job_queries
from storage.listings.size_limits import SizeLimits
from storage.objects import sweeps
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database, Row
from storage.records import JobView
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT, HOOK
from tests.integration.harness.grpc_server import service_parts
from tests.integration.harness.pipeline_harness import PipelineHarness

CONTENT = ("object_key", "sha256", "size_bytes", "content_type", "extension")


@dataclass(frozen=True)
class _Desk:
    """The server's RetryJob on a pipeline's servers."""

    parts: ServerDependencies

    def retry(self, job_id: UUID, **parts: Any) -> pb.Job:
        """Return the job that RetryJob answers; `parts` replace the server's own."""
        service = DownloadService(replace(self.parts, **parts))
        request = pb.RetryJobRequest(job_id=str(job_id))
        context: Any = grpc.aio.ServicerContext
        return asyncio.run(service.RetryJob(request, context)).job


@pytest.fixture
def desk(pipeline: PipelineHarness, objects: Objects, redis_url: str) -> Iterator[_Desk]:
    """Return the server's RetryJob."""
    with service_parts(pipeline.database, objects, redis_url) as parts:
        # A bound for a slow machine.
        yield _Desk(replace(parts, messages=pipeline.messages, reuse_limit_s=60))


def _failed(
    pipeline: PipelineHarness, *missing: int, documents: int = 3, **values: Any
) -> tuple[str, UUID]:
    """Return a case and its ended job; the portal lacked some of the documents."""
    number = pipeline.sandbox.add_case(
        documents=documents, faults=dict.fromkeys(missing, "file-404"), **values
    )
    job_id = pipeline.run(number, webhook_url=HOOK)
    assert factories.job(pipeline.database, job_id)["failed_documents"] == len(missing)
    return number, job_id


def _repair(pipeline: PipelineHarness, number: str, *missing: int, size: int = 20_000) -> None:
    """Make the portal answer with every document of three except these."""
    faults = dict.fromkeys(missing, "file-404")
    pipeline.sandbox.add_case(number=number, documents=3, faults=faults, size=size)


def _states(database: Database, job_id: UUID) -> list[str]:
    return [d["state"] for d in factories.documents(database, job_id)]


def _require_sound(database: Database, job_id: UUID) -> Row:
    """Return the job after a check that its counters and revisions match its documents."""
    job, documents = factories.job(database, job_id), factories.documents(database, job_id)
    stored = [d for d in documents if d["state"] == "AVAILABLE"]
    assert job["completed_documents"] == len(stored)
    assert job["reused_documents"] == sum(d["is_reused"] for d in documents)
    assert job["failed_documents"] == sum(d["state"] == "FAILED" for d in documents)
    assert job["stored_bytes"] == sum(d["size_bytes"] for d in stored)
    revisions = [d["revision"] for d in documents]
    assert len(set(revisions)) == len(revisions)
    assert max(revisions) < job["revision"]
    return job


def test_a_document_that_a_newer_job_stored_is_not_requested_again(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    second = pipeline.run(number)
    assert pipeline.requested_files(number) == [1, 2, 1]

    desk.retry(first)
    pipeline.work()

    assert pipeline.requested_files(number) == [1, 2, 1]
    old, new = (factories.documents(pipeline.database, job_id)[1] for job_id in (first, second))
    assert [old[c] for c in CONTENT] == [new[c] for c in CONTENT]
    assert (old["is_reused"], old["error_reason"]) == (True, None)


def test_when_all_is_there_the_run_ends_in_the_call_and_is_published(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number, first = _failed(pipeline, 0, 2)
    database = pipeline.database
    [before] = factories.webhooks(database, first)
    revision = factories.job(database, first)["revision"]
    _repair(pipeline, number)
    pipeline.run(number)
    pipeline.sent(), pipeline.hinted()

    answer = desk.retry(first)

    assert answer.state == pb.JOB_STATE_COMPLETED
    assert (answer.progress.completed_documents, answer.progress.reused_documents) == (3, 2)
    assert answer.progress.failed_documents == 0
    assert answer.HasField("end_time")
    assert [(queue, list(ids)) for queue, ids in pipeline.sent()] == [
        (WEBHOOK_QUEUE, [str(first), 0])
    ]
    job = _require_sound(database, first)
    # Two documents, the new run and its end.
    assert job["revision"] == revision + 4
    old, new = factories.events(database, first)
    assert (old["type"], new["type"]) == ("download.partially_completed", "download.completed")
    assert (new["run"], new["job"]["revision"]) == (2, job["revision"])
    [hook] = factories.webhooks(database, first)
    assert (hook["state"], hook["event_id"]) == ("PENDING", new["event_id"])
    assert hook["webhook_id"] != before["webhook_id"]
    assert JobEnded(first) in pipeline.hinted()


def test_only_the_rest_is_requested(pipeline: PipelineHarness, desk: _Desk) -> None:
    number, first = _failed(pipeline, 0, 1)
    _repair(pipeline, number, 1)
    pipeline.run(number)
    _repair(pipeline, number)
    assert pipeline.requested_files(number) == [2, 2, 1]

    answer = desk.retry(first)

    assert answer.state == pb.JOB_STATE_PROCESSING
    assert answer.progress.reused_documents == 1
    assert _states(pipeline.database, first) == ["AVAILABLE", "PENDING", "AVAILABLE"]
    _require_sound(pipeline.database, first)
    pipeline.work()
    assert pipeline.requested_files(number) == [2, 3, 1]
    assert _require_sound(pipeline.database, first)["state"] == "COMPLETED"


def test_what_still_fails_leaves_the_run_as_it_may_be(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number, first = _failed(pipeline, 0, 1, 2)
    assert factories.job(pipeline.database, first)["state"] == "FAILED"
    _repair(pipeline, number, 1)
    pipeline.run(number)

    desk.retry(first)
    pipeline.work()

    assert _require_sound(pipeline.database, first)["state"] == "PARTIALLY_COMPLETED"
    assert pipeline.requested_files(number) == [2, 3, 2]


def test_a_document_of_another_size_than_listed_is_requested(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number, size=30_000)
    pipeline.run(number)

    desk.retry(first)

    assert _states(pipeline.database, first) == ["AVAILABLE", "PENDING", "AVAILABLE"]


def test_a_document_whose_object_is_gone_is_requested(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    second = pipeline.run(number)
    key = factories.documents(pipeline.database, second)[1]["object_key"]
    pipeline.lister.objects.delete([key])

    desk.retry(first)
    pipeline.work()

    assert pipeline.requested_files(number) == [1, 3, 1]
    assert _require_sound(pipeline.database, first)["reused_documents"] == 0
    assert pipeline.lister.objects.present({key: 20_000}) == {key}


def test_another_clients_documents_are_requested(pipeline: PipelineHarness, desk: _Desk) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    pipeline.run(number, "another")

    desk.retry(first)

    assert _states(pipeline.database, first) == ["AVAILABLE", "PENDING", "AVAILABLE"]


def test_a_bucket_that_is_away_is_not_waited_for(
    pipeline: PipelineHarness, desk: _Desk, store: ObjectStore
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    pipeline.run(number)
    nowhere = Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=2)

    answer = desk.retry(first, objects=nowhere)
    pipeline.work()

    assert answer.state == pb.JOB_STATE_PROCESSING
    assert pipeline.requested_files(number) == [1, 3, 1]
    assert _require_sound(pipeline.database, first)["state"] == "COMPLETED"


class _Slow(Objects):
    """A bucket that answers a check for objects when the test allows it, or after a minute."""

    def __init__(self, store: ObjectStore, *, max_connections: int) -> None:
        super().__init__(store, max_connections=max_connections)
        self.may_answer = threading.Event()

    def _size_of(self, key: str) -> int | None:
        self.may_answer.wait(60)
        return super()._size_of(key)


def test_a_bucket_that_does_not_answer_is_not_waited_for(
    pipeline: PipelineHarness, desk: _Desk, store: ObjectStore
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    pipeline.run(number)

    slow = _Slow(store, max_connections=2)
    answer = desk.retry(first, objects=slow, reuse_limit_s=0.1)
    slow.may_answer.set()

    assert answer.state == pb.JOB_STATE_PROCESSING
    assert _states(pipeline.database, first) == ["AVAILABLE", "PENDING", "AVAILABLE"]


class _Meddled(Objects):
    """A bucket that runs a test's action once, during a check for objects."""

    def __init__(self, store: ObjectStore, meanwhile: Callable[[], object]) -> None:
        super().__init__(store, max_connections=2)
        self._meanwhile = [meanwhile]

    def present(self, sizes: Mapping[str, int], *, limit_s: float | None = None) -> set[str]:
        there = super().present(sizes, limit_s=limit_s)
        while self._meanwhile:
            self._meanwhile.pop()()
        return there


def test_a_document_stored_during_the_bucket_check_is_not_requested(
    pipeline: PipelineHarness, desk: _Desk, store: ObjectStore
) -> None:
    number, first = _failed(pipeline, 0, 1)
    _repair(pipeline, number, 1)
    pipeline.run(number)
    _repair(pipeline, number)

    answer = desk.retry(first, objects=_Meddled(store, partial(pipeline.run, number)))

    assert answer.state == pb.JOB_STATE_COMPLETED
    assert pipeline.requested_files(number) == [2, 3, 1]
    _require_sound(pipeline.database, first)


def test_a_job_that_begins_during_the_bucket_check_is_named(
    pipeline: PipelineHarness, desk: _Desk, store: ObjectStore
) -> None:
    number, first = _failed(pipeline, 0)
    _repair(pipeline, number)
    pipeline.run(number)
    before = factories.job(pipeline.database, first)

    with pytest.raises(PreconditionFailed) as refused:
        desk.retry(first, objects=_Meddled(store, partial(pipeline.begin, number)))

    assert refused.value.reason == "CASE_ACTIVE"
    assert factories.job(pipeline.database, first) == before


def test_a_sweep_during_the_bucket_check_spares_reused_objects(
    pipeline: PipelineHarness, desk: _Desk, store: ObjectStore
) -> None:
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    second = pipeline.run(number)
    stored = factories.documents(pipeline.database, second)[1]
    key, objects = stored["object_key"], pipeline.lister.objects
    sweep = partial(sweeps.delete_unnamed, pipeline.database, objects, [key])

    desk.retry(first, objects=_Meddled(store, sweep))

    assert factories.documents(pipeline.database, first)[1]["object_key"] == key
    assert objects.present({key: stored["size_bytes"]}) == {key}


def _outcome(call: Callable[[], tuple[JobView, bool]]) -> str:
    try:
        view, is_new = call()
    except PreconditionFailed as error:
        return error.reason
    return f"{view.job.state}{' anew' if is_new else ''}"


def test_of_two_calls_at_once_one_takes_over(pipeline: PipelineHarness) -> None:
    database, objects = pipeline.database, pipeline.lister.objects
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    pipeline.run(number)
    rerun = partial(_outcome, partial(factories.rerun, database, objects, first))

    outcomes = run_concurrently([rerun, rerun])

    assert sorted(outcomes) == ["COMPLETED anew", "NOTHING_TO_RETRY"]
    assert len(factories.events(database, first)) == 2
    assert _require_sound(database, first)["run"] == 2


def test_of_two_calls_at_once_with_one_request_id_one_takes_over(pipeline: PipelineHarness) -> None:
    database, objects = pipeline.database, pipeline.lister.objects
    number, first = _failed(pipeline, 1)
    _repair(pipeline, number)
    pipeline.run(number)
    call = partial(factories.rerun, database, objects, first, request_id=uuid4())

    outcomes = run_concurrently([partial(_outcome, call)] * 2)

    assert sorted(outcomes) == ["COMPLETED", "COMPLETED anew"]
    assert len(factories.events(database, first)) == 2


def test_a_job_without_failed_documents_has_nothing_to_retry(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.run(number)

    with pytest.raises(PreconditionFailed) as refused:
        desk.retry(job_id)

    assert refused.value.reason == "NOTHING_TO_RETRY"


def test_a_document_that_is_listed_as_too_large_stays_failed(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    limits = SizeLimits(document_bytes=19_999)
    number = pipeline.sandbox.add_case(documents=1, size=20_000)
    job_id = pipeline.with_lister(size_limits=limits).run(number)

    with pytest.raises(PreconditionFailed) as caught:
        desk.retry(job_id, size_limits=limits)
    assert caught.value.reason == "NOTHING_TO_RETRY"
    desk.retry(job_id)
    pipeline.work()

    assert pipeline.requested_files(number) == [1]
    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"


def test_a_document_listed_without_a_link_is_taken_over_once_another_job_has_it(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=2, faults={1: "foreign-href"})
    first = pipeline.run(number)
    assert _states(pipeline.database, first) == ["AVAILABLE", "FAILED"]
    pipeline.sandbox.add_case(number=number, documents=2)
    pipeline.run(number)

    assert desk.retry(first).state == pb.JOB_STATE_COMPLETED
    assert pipeline.requested_files(number) == [1, 1]


def test_a_cancelled_job_stays_cancelled(pipeline: PipelineHarness, desk: _Desk) -> None:
    database = pipeline.database
    number = pipeline.sandbox.add_case(documents=3, faults={0: "file-404"})
    first = pipeline.begin(number)
    pipeline.list_job(first)
    pipeline.download(first)
    job_queries.cancel(database, CLIENT, first)
    assert _states(database, first) == ["FAILED", "CANCELLED", "CANCELLED"]
    _repair(pipeline, number)
    pipeline.run(number)

    assert desk.retry(first).state == pb.JOB_STATE_CANCELLED
    assert _states(database, first) == ["AVAILABLE", "CANCELLED", "CANCELLED"]
    _require_sound(database, first)
