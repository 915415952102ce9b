"""Test many threads that claim and record together: each document ends as it would alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.portal.slots import court_of
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline
from tests.integration.harness.pipeline_hooks import HookedDatabase, HookedObjects

THREADS = 6
DOCUMENTS = 16
# Spool sizes in bytes: with one, small files use the spool; with the other, they stay in memory.
ROOMS = {"by-the-spool": 2**26, "from-memory": 2**32}


@pytest.fixture(params=list(ROOMS))
def pipeline(
    request: pytest.FixtureRequest,
    database: Database,
    objects: Objects,
    redis_url: str,
    tmp_path: Path,
) -> Iterator[PipelineHarness]:
    """Yield a pipeline that uploads its files from the spool, or from memory."""
    spool = Spool(tmp_path / "spool", uuid4(), ROOMS[request.param])
    with running_pipeline(database, objects, redis_url, spool) as pipeline:
        yield pipeline


def _begun(pipeline: PipelineHarness) -> tuple[str, UUID]:
    """Return a case of a fast court and its listed job."""
    number = pipeline.sandbox.add_case(documents=DOCUMENTS)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    factories.make_quick(pipeline.database, court_of(number))
    return number, job_id


def _nothing() -> None:
    """Start no further thread."""


def _work(pipeline: PipelineHarness, *job_ids: UUID) -> None:
    """Let all threads download and store until these jobs have ended, or a thread has failed."""
    has_failed = Event()

    def work(_: int) -> None:
        try:
            while _is_running(pipeline, job_ids) and not has_failed.is_set():
                pipeline.worker.poll(_nothing)
                pipeline.uploader.poll(_nothing)
        except BaseException:
            has_failed.set()
            raise

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def _is_running(pipeline: PipelineHarness, job_ids: Sequence[UUID]) -> bool:
    return any(factories.job(pipeline.database, each)["end_time"] is None for each in job_ids)


def _is_stored(pipeline: PipelineHarness, objects: Objects, job_id: UUID) -> bool:
    """Return True if the bucket holds every document and each has a distinct revision."""
    rows = factories.documents(pipeline.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert {row["state"] for row in rows} == {"AVAILABLE"}
    assert len({row["revision"] for row in rows}) == len(rows) == DOCUMENTS
    return objects.present(sizes) == set(sizes)


def _spooled(pipeline: PipelineHarness) -> set[UUID]:
    return set(pipeline.spool.leases(older_than_s=0, now=2**40))


def test_threads_that_share_rounds_store_each_document_once(
    pipeline: PipelineHarness, objects: Objects
) -> None:
    cases = [_begun(pipeline) for _ in range(2)]

    _work(pipeline, *(job_id for _, job_id in cases))

    for number, job_id in cases:
        assert _is_stored(pipeline, objects, job_id)
        assert factories.job(pipeline.database, job_id)["completed_documents"] == DOCUMENTS
        assert len(factories.events(pipeline.database, job_id)) == 1
        assert pipeline.requested_files(number) == [1] * DOCUMENTS
    assert _spooled(pipeline) == set()
    assert pipeline.recorder.answered.await_freed(60)
    assert factories.held_slots(pipeline.database) == 0


def test_what_cannot_be_recorded_together_is_recorded_one_by_one(
    pipeline: PipelineHarness, objects: Objects, database_url: str
) -> None:
    refused: set[str] = set()

    def refuse_several(function: str, values: dict[str, Any]) -> None:
        if "_record_" in function and len(values["leases"]) > 1:
            refused.add(function)
            raise RuntimeError("a bug")

    hooked = HookedDatabase(database_url, refuse_several)
    recorder = replace(pipeline.recorder, database=hooked)
    uploader = replace(pipeline.uploader, recorder=replace(recorder, fetcher=None))
    alone = replace(pipeline.with_slices(recorder=recorder), uploader=uploader)
    number, job_id = _begun(alone)

    _work(alone, job_id)
    assert recorder.answered.await_freed(60)
    hooked.close()

    assert refused
    assert _is_stored(pipeline, objects, job_id)
    assert pipeline.requested_files(number) == [1] * DOCUMENTS
    assert _spooled(pipeline) == set()


def test_a_job_that_is_cancelled_takes_nothing_of_others_with_it(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    (_, cancelled), (number, other) = _begun(pipeline), _begun(pipeline)
    put: dict[str, int] = {}
    is_first = Lock()

    def cancel_halfway(upload: Upload) -> None:
        put[upload.key] = upload.size_bytes
        if len(put) >= DOCUMENTS // 2 and is_first.acquire(blocking=False):
            job_queries.cancel(pipeline.database, CLIENT, cancelled)

    bucket = HookedObjects(store, after_put=cancel_halfway)
    writer = replace(pipeline.uploader.writer, objects=bucket)
    both = replace(pipeline.with_bucket(bucket), uploader=replace(pipeline.uploader, writer=writer))

    _work(both, cancelled, other)

    assert _is_stored(pipeline, objects, other)
    assert pipeline.requested_files(number) == [1] * DOCUMENTS
    rows = factories.documents(pipeline.database, cancelled)
    named = {row["object_key"] for row in rows} - {None}
    assert {row["state"] for row in rows} <= {"AVAILABLE", "CANCELLED"}
    assert factories.job(pipeline.database, cancelled)["state"] == "CANCELLED"
    assert factories.job(pipeline.database, cancelled)["completed_documents"] == len(named)
    # The rest of the spool is removed later, as files that an uploader finds without a row.
    left = _spooled(pipeline)
    assert reconciliation.orphaned_tokens(pipeline.database, [*left]) == left
