"""Test that an object which a sweep deletes during another job's upload is uploaded again."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from actors.pipeline.fetch import Fetched
from actors.pipeline.file_recorder import Batch
from actors.pipeline.object_writer import WrittenObject
from dev.processes.deadline import until
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.objects import sweeps
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.pipeline_hooks import HookedObjects


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), 2**32)


def _put(pipeline: PipelineHarness, job_id: UUID) -> WrittenObject:
    """Return the job's next file, which the bucket holds and no row names."""
    fetched = pipeline.slices.fetcher.fetch(pipeline.slice_of(job_id).documents[0])
    assert isinstance(fetched, Fetched)
    stored = pipeline.slices._put(fetched)
    assert stored
    return stored


def _record(pipeline: PipelineHarness, stored: WrittenObject) -> None:
    pipeline.recorder.record(Batch([stored]))


def _is_stored(pipeline: PipelineHarness, objects: Objects, job_id: UUID) -> bool:
    rows = factories.documents(pipeline.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert {(row["state"], row["attempt_count"]) for row in rows} == {("AVAILABLE", 1)}
    return objects.present(sizes) == set(sizes)


@pytest.mark.parametrize("is_answered", [True, False], ids=["slow", "unanswered"])
def test_what_is_put_while_the_same_object_is_deleted_is_put_again(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore, is_answered: bool
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    first = pipeline.begin(number)
    pipeline.list_job(first)
    unnamed = _put(pipeline, first)
    job_queries.cancel(pipeline.database, CLIENT, first)
    second = pipeline.begin(number)
    pipeline.list_job(second)
    put_again: list[WrittenObject] = []

    def put_and_delete() -> None:
        # A thread of its own: on this one the call would be part of the sweep's transaction.
        put_again.extend(run_concurrently([partial(_put, pipeline, second)]))
        objects.delete([unnamed.key])
        if not is_answered:
            raise ServiceUnavailable("S3")

    bucket = HookedObjects(store, after_delete=put_and_delete)
    with nullcontext() if is_answered else pytest.raises(ServiceUnavailable):
        sweeps.delete_unnamed(pipeline.database, bucket, [unnamed.key])
    (stored,) = put_again
    assert stored.key == unnamed.key
    assert objects.present({stored.key: stored.file.size_bytes}) == set()

    _record(pipeline, stored)

    assert _is_stored(pipeline, objects, second)
    assert pipeline.requested_files(number) == [2]


def _waits_for_a_sweep(database: Database) -> bool:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            " AS waits"
        )
    return bool(row["waits"])


def test_what_is_put_and_recorded_while_the_same_object_is_deleted_is_put_again(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    first = pipeline.begin(number)
    pipeline.list_job(first)
    unnamed = _put(pipeline, first)
    job_queries.cancel(pipeline.database, CLIENT, first)
    second = pipeline.begin(number)
    pipeline.list_job(second)
    storing = threading.Thread(target=lambda: _record(pipeline, _put(pipeline, second)))

    def store_and_delete() -> None:
        storing.start()
        until(
            lambda: not storing.is_alive() or _waits_for_a_sweep(pipeline.database),
            60,
            "it neither ends nor waits",
        )
        objects.delete([unnamed.key])

    bucket = HookedObjects(store, after_delete=store_and_delete)
    sweeps.delete_unnamed(pipeline.database, bucket, [unnamed.key])
    storing.join(60)

    assert not storing.is_alive()
    assert _is_stored(pipeline, objects, second)
    assert pipeline.requested_files(number) == [2]


def test_what_was_put_before_a_sweep_that_died_while_it_deleted_is_put_again(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    stored = _put(pipeline, job_id)

    def die() -> None:
        # None of its transaction's changes is committed.
        raise KeyboardInterrupt

    bucket = HookedObjects(store, after_delete=die)
    with pytest.raises(KeyboardInterrupt):
        sweeps.delete_unnamed(pipeline.database, bucket, [stored.key])
    assert objects.present({stored.key: stored.file.size_bytes}) == set()

    _record(pipeline, stored)

    assert _is_stored(pipeline, objects, job_id)
    assert pipeline.requested_files(number) == [1]


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_what_another_job_of_the_case_is_about_to_name_stays(
    pipeline: PipelineHarness, objects: Objects, is_first: bool
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    stored = _put(pipeline, job_id)
    job_queries.cancel(pipeline.database, CLIENT, job_id)
    other = pipeline.begin(number)
    if is_first:
        _record(pipeline, stored)
    pipeline.list_job(other)
    theirs = _put(pipeline, other)
    if not is_first:
        _record(pipeline, stored)

    _record(pipeline, theirs)

    assert objects.present({stored.key: stored.file.size_bytes}) == {stored.key}
    assert theirs.key == stored.key
    assert _is_stored(pipeline, objects, other)
    assert pipeline.requested_files(number) == [2]
