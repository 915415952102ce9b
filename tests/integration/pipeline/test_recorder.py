"""Test group commit of files: a row locked by one transaction delays no other file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.pipeline.answered_slices import AnsweredSlices
from actors.pipeline.fetch import Fetched
from actors.pipeline.file_recorder import Batch, FileRecorder
from actors.pipeline.object_writer import WrittenObject
from dev.processes.deadline import until
from storage.documents.file_records import BUSY_ROUNDS
from storage.errors import ServiceUnavailable
from storage.objects import sweeps
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.portal.slots import court_of
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import HOOK, held_slots
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.pipeline_hooks import HookedDatabase, HookedObjects

WAIT_S = 60.0


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), 2**32)


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Yield an executor with threads beside the test's own."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def _listed(pipeline: PipelineHarness, documents: int, webhook_url: str | None = None) -> UUID:
    number = pipeline.sandbox.add_case(documents=documents)
    job_id = pipeline.begin(number, webhook_url=webhook_url)
    pipeline.list_job(job_id)
    factories.make_quick(pipeline.database, court_of(number))
    return job_id


def _fetched(pipeline: PipelineHarness, job_id: UUID, count: int = 1) -> list[Fetched]:
    """Return files of a job that are in memory and not recorded."""
    answers = map(pipeline.slices.fetcher.fetch, pipeline.slice_of(job_id, count).documents)
    files = [answer for answer in answers if isinstance(answer, Fetched)]
    assert len(files) == count
    return files


def _stored(pipeline: PipelineHarness, job_id: UUID, count: int = 1) -> list[WrittenObject]:
    """Return files of a job that the bucket holds and that are not recorded."""
    stored = [pipeline.slices._put(file) for file in _fetched(pipeline, job_id, count)]
    return [file for file in stored if file is not None]


def _recorder(pipeline: PipelineHarness, database: Database) -> FileRecorder:
    """Return a recorder that writes to this database."""
    real = pipeline.recorder
    return FileRecorder(
        database=database,
        spool=real.spool,
        ends=real.ends,
        writer=real.writer,
        fetcher=real.fetcher,
        is_stopping=real.is_stopping,
    )


def _record_while_held(
    pipeline: PipelineHarness,
    database: Database,
    batch: Batch,
    job_id: UUID,
    release: threading.Event,
) -> None:
    """Record a batch while another transaction holds the job, until `release` is set."""
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.transaction() as transaction:
            transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)
            running = pool.submit(_recorder(pipeline, database).record, batch)
            assert release.wait(WAIT_S)
        running.result(WAIT_S)


def _states(pipeline: PipelineHarness, job_id: UUID) -> list[str]:
    return [row["state"] for row in factories.documents(pipeline.database, job_id)]


def test_a_job_that_another_transaction_holds_keeps_only_its_own_files_waiting(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    held, free = (_listed(pipeline, 1) for _ in range(2))
    waiting, going = (_stored(pipeline, job_id) for job_id in (held, free))

    with pipeline.database.transaction() as transaction:
        transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=held)
        first = beside.submit(pipeline.recorder.record, Batch(waiting))
        beside.submit(pipeline.recorder.record, Batch(going)).result(WAIT_S)
        assert not first.done()
        assert _states(pipeline, free) == ["AVAILABLE"]
    first.result(WAIT_S)

    assert _states(pipeline, held) == ["AVAILABLE"]


def test_a_batch_records_what_is_not_held_and_waits_for_the_rest(
    pipeline: PipelineHarness, beside: ThreadPoolExecutor
) -> None:
    held, free = (_listed(pipeline, 1) for _ in range(2))
    batch = Batch([*_stored(pipeline, held), *_stored(pipeline, free)])

    with pipeline.database.transaction() as transaction:
        transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=held)
        recording = beside.submit(pipeline.recorder.record, batch)
        until(lambda: _states(pipeline, free) == ["AVAILABLE"], WAIT_S, "it is not recorded")
        assert not recording.done()
    recording.result(WAIT_S)

    assert _states(pipeline, held) == ["AVAILABLE"]


def test_slices_that_come_during_a_round_go_together_with_the_next_one(
    pipeline: PipelineHarness, database_url: str, beside: ThreadPoolExecutor
) -> None:
    job_ids = [_listed(pipeline, 2, HOOK) for _ in range(5)]
    batches = [Batch(_stored(pipeline, job_id, 2)) for job_id in job_ids]
    rounds: list[int] = []
    begun, may_go_on = threading.Event(), threading.Event()

    def hold_first(_: str, values: dict[str, Any]) -> None:
        rounds.append(len(values["leases"]))
        begun.set()
        assert may_go_on.wait(WAIT_S)

    hooked = HookedDatabase(database_url, hold_first)
    recorder = _recorder(pipeline, hooked)
    recording = [beside.submit(recorder.record, batches[0])]
    assert begun.wait(WAIT_S)
    recording += [beside.submit(recorder.record, batch) for batch in batches[1:]]
    until(lambda: len(recorder._group._waiting) == 4, WAIT_S, "the others do not wait")
    may_go_on.set()
    for each in recording:
        each.result(WAIT_S)
    hooked.close()

    assert rounds == [2, 8]
    for job_id in job_ids:
        assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
        assert len(factories.events(pipeline.database, job_id)) == 1
    posted = [arguments[0] for queue, arguments in pipeline.sent() if queue == "webhook"]
    assert sorted(posted) == sorted(map(str, job_ids))


def test_a_file_that_a_sweep_has_deleted_is_put_again(
    pipeline: PipelineHarness, objects: Objects
) -> None:
    job_id = _listed(pipeline, 2)
    swept, kept = _stored(pipeline, job_id, 2)
    assert sweeps.delete_unnamed(pipeline.database, objects, [swept.key]) == 1

    pipeline.recorder.record(Batch([swept, kept]))

    assert _states(pipeline, job_id) == ["AVAILABLE"] * 2
    sizes = {each.key: each.file.size_bytes for each in (swept, kept)}
    assert objects.present(sizes) == set(sizes)


def test_a_swept_file_that_cannot_be_put_again_is_requested_again(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    job_id = _listed(pipeline, 1)
    (swept,) = _stored(pipeline, job_id)
    assert sweeps.delete_unnamed(pipeline.database, objects, [swept.key]) == 1

    pipeline.with_bucket(HookedObjects(store, before_put=_refuse)).recorder.record(Batch([swept]))

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)
    factories.execute(pipeline.database, "DELETE FROM swept_objects")
    pipeline.work()
    assert _states(pipeline, job_id) == ["AVAILABLE"]


def _refuse(_: object) -> None:
    raise ServiceUnavailable("S3")


def test_slots_are_freed_with_a_record_that_succeeds_at_the_second_try(
    pipeline: PipelineHarness, database_url: str
) -> None:
    job_id = _listed(pipeline, 1)
    batch = Batch(_stored(pipeline, job_id))
    assert held_slots(pipeline.database) == 2
    (token,) = {file.file.slice_token for file in batch.stored}
    assert token
    refusals = [ServiceUnavailable("PostgreSQL")] * 2

    def refuse(_: str, __: object) -> None:
        if refusals:
            raise refusals.pop()

    hooked = HookedDatabase(database_url, refuse)
    recorder = _recorder(pipeline, hooked)
    recorder.answered.add(token)
    recorder.record(batch)
    assert recorder.answered.await_freed(WAIT_S)
    hooked.close()

    assert not refusals
    assert _states(pipeline, job_id) == ["AVAILABLE"]
    assert held_slots(pipeline.database) == 0


def test_what_is_stored_is_recorded_once_though_the_spooled_files_of_its_round_must_wait(
    pipeline: PipelineHarness, database_url: str
) -> None:
    job_id = _listed(pipeline, 2)
    in_memory, to_spool = _fetched(pipeline, job_id, 2)
    stored = pipeline.slices._put(in_memory)
    spooled = pipeline.slices._keep(to_spool)
    assert stored
    assert spooled
    calls: list[str] = []

    def refuse_once(function: str, _: object) -> None:
        step = "stored" if "record_stored" in function else "fetched"
        calls.append(step)
        if calls.count("fetched") == 1 and step == "fetched":
            raise ServiceUnavailable("PostgreSQL")

    hooked = HookedDatabase(database_url, refuse_once)
    _recorder(pipeline, hooked).record(Batch([stored], [spooled]))
    hooked.close()

    assert calls == ["stored", "fetched", "fetched"]
    assert _states(pipeline, job_id) == ["AVAILABLE", "DOWNLOADED"]
    ((queue, arguments),) = pipeline.sent()
    assert queue == f"upload.{pipeline.spool.spool_id}"
    assert arguments[1] == str(spooled.claim.document_id)


def test_a_file_that_stays_busy_is_recorded_alone_and_waits(
    pipeline: PipelineHarness, database_url: str
) -> None:
    job_id = _listed(pipeline, 1)
    batch = Batch(_stored(pipeline, job_id))
    waits: list[bool] = []

    def hold(_: str, values: dict[str, Any]) -> None:
        waits.append(values["waits"])
        if values["waits"]:
            release.set()

    hooked, release = HookedDatabase(database_url, hold), threading.Event()
    _record_while_held(pipeline, hooked, batch, job_id, release)
    hooked.close()

    assert waits[: BUSY_ROUNDS + 1] == [False] * BUSY_ROUNDS + [True]
    assert _states(pipeline, job_id) == ["AVAILABLE"]


def test_of_files_that_stay_busy_one_that_cannot_be_recorded_takes_no_other_with_it(
    pipeline: PipelineHarness, database_url: str
) -> None:
    job_id = _listed(pipeline, 3)
    files = _stored(pipeline, job_id, 3)

    def hold(_: str, values: dict[str, Any]) -> None:
        if values["waits"]:
            release.set()
            if files[0].lease in values["leases"]:
                raise RuntimeError("a bug")

    hooked, release = HookedDatabase(database_url, hold), threading.Event()
    _record_while_held(pipeline, hooked, Batch(files), job_id, release)
    hooked.close()

    states = {row["lease"]: row["state"] for row in factories.documents(pipeline.database, job_id)}
    assert states == {files[0].lease: "DOWNLOADING", None: "AVAILABLE"}


def test_slots_that_cannot_be_freed_are_freed_later() -> None:
    tries: list[list[UUID]] = []

    def free(tokens: Any) -> None:
        tries.append(list(tokens))
        if len(tries) == 1:
            raise ServiceUnavailable("PostgreSQL")
        if len(tries) == 2:
            raise ZeroDivisionError

    answered, token = AnsweredSlices(free, pause_s=0), uuid4()
    answered.add(token)

    until(lambda: len(tries) == 3, WAIT_S, "it is not tried again")
    assert answered.await_freed(WAIT_S)
    assert tries == [[token]] * 3


def test_the_slots_of_a_slice_are_freed_by_a_round_or_by_the_thread_but_once() -> None:
    freed: list[UUID] = []
    answered = AnsweredSlices(freed.extend)
    tokens = [uuid4() for _ in range(20)]

    for token in tokens:
        answered.add(token)
        freed += answered.take_all()
        answered.add(token)

    assert answered.await_freed(WAIT_S)
    assert sorted(freed) == sorted(2 * tokens)
