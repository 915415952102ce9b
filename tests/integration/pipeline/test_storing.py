"""Test uploads by the downloading worker; the spool keeps files after a failed upload."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import requests
from structlog.testing import capture_logs

from actors.pipeline.object_writer import BucketHealth
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.portal.slots import court_of
from storage.spool import SMALL_BYTES, Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, LANES, held_slots
from tests.integration.harness.pipeline_harness import (
    PUT_LIMIT_S,
    THREADS,
    PipelineHarness,
)
from tests.integration.harness.pipeline_hooks import HookedObjects

DOCUMENTS = 7
ROOM_BYTES = 2**32
WAIT_S = 60.0


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), ROOM_BYTES)


@pytest.fixture
def away(store: ObjectStore) -> Objects:
    """Return an unreachable bucket."""
    return Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=1)


@pytest.fixture
def silent(store: ObjectStore) -> Iterator[Objects]:
    """Yield a bucket that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield Objects(replace(store, endpoint_url=url), max_connections=1)


class _FullSpool(Spool):
    """A spool without room for a file that was in memory."""

    def keep(self, lease: UUID, data: bytes) -> None:  # noqa: ARG002
        """Raise the error of a full spool."""
        raise ServiceUnavailable("Room in the spool")


def _full(pipeline: PipelineHarness, folder: Path) -> PipelineHarness:
    """Return a pipeline with slices that find no room in the spool."""
    spool = _FullSpool(folder / "full", pipeline.spool.spool_id, ROOM_BYTES)
    return pipeline.with_slices(spool=spool)


def _listed(pipeline: PipelineHarness, documents: int, size: int = 20_000) -> tuple[str, UUID]:
    number = pipeline.sandbox.add_case(documents=documents, size=size)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    factories.make_quick(pipeline.database, court_of(number))
    return number, job_id


def _files(pipeline: PipelineHarness) -> list[Path]:
    return [*pipeline.spool.leases(older_than_s=0, now=2**40).values()]


def _is_stored(pipeline: PipelineHarness, objects: Objects, job_id: UUID) -> bool:
    """Return True if the bucket holds every document, downloaded at the first attempt."""
    rows = factories.documents(pipeline.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert {(row["state"], row["attempt_count"]) for row in rows} == {("AVAILABLE", 1)}
    assert len({row["revision"] for row in rows}) == len(rows)
    return objects.present(sizes) == set(sizes)


@pytest.mark.parametrize("is_quick", [True, False], ids=["several-a-slice", "one-a-slice"])
def test_a_small_file_is_put_without_lying_in_the_spool(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore, is_quick: bool
) -> None:
    number, job_id = _listed(pipeline, DOCUMENTS)
    if not is_quick:
        factories.execute(pipeline.database, "UPDATE courts SET request_s = 1")
    sources: list[type] = []
    bucket = HookedObjects(store, before_put=lambda upload: sources.append(type(upload.source)))

    pipeline.with_bucket(bucket).work()

    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
    assert _is_stored(pipeline, objects, job_id)
    assert pipeline.requested_files(number) == [1] * DOCUMENTS
    assert sources == [bytes] * DOCUMENTS
    assert pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(pipeline.database) == 0
    assert _files(pipeline) == []


def test_a_large_file_goes_by_the_spool_in_a_slice_of_its_own(
    pipeline: PipelineHarness, objects: Objects
) -> None:
    _, job_id = _listed(pipeline, 2, size=SMALL_BYTES + 1)

    pipeline.download(job_id, 2)

    first, second = factories.documents(pipeline.database, job_id)
    assert (first["state"], first["spool_id"]) == ("DOWNLOADED", pipeline.spool.spool_id)
    assert second["state"] == "PENDING"
    assert len(_files(pipeline)) == 1
    pipeline.work()
    assert _is_stored(pipeline, objects, job_id)
    assert _files(pipeline) == []


def test_while_the_bucket_is_away_files_wait_in_the_spool_and_are_not_requested_again(
    pipeline: PipelineHarness, objects: Objects, away: Objects
) -> None:
    number, job_id = _listed(pipeline, LANES)

    without_bucket = pipeline.with_bucket(away)
    for _ in range(LANES):
        without_bucket.download(job_id)

    rows = factories.documents(pipeline.database, job_id)
    assert {row["state"] for row in rows} == {"DOWNLOADED"}
    assert {row["spool_id"] for row in rows} == {pipeline.spool.spool_id}
    assert len(_files(pipeline)) == LANES
    pipeline.work()
    assert _is_stored(pipeline, objects, job_id)
    assert pipeline.requested_files(number) == [1] * LANES
    assert _files(pipeline) == []


def test_a_bucket_that_fails_is_not_tried_by_the_rest_of_the_slice(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    _, job_id = _listed(pipeline, DOCUMENTS)
    tries: list[str] = []

    def refuse(upload: Upload) -> None:
        tries.append(upload.key)
        raise ServiceUnavailable("S3")

    pipeline.with_bucket(HookedObjects(store, before_put=refuse)).download(job_id, DOCUMENTS)

    assert len(tries) == 1
    rows = factories.documents(pipeline.database, job_id)
    assert {row["state"] for row in rows} == {"DOWNLOADED"}
    messages = [arguments for _, arguments in pipeline.sent()]
    assert {arguments[1] for arguments in messages} == {str(row["document_id"]) for row in rows}


def test_a_put_that_takes_too_long_is_broken_off_and_its_file_goes_to_the_spool(
    pipeline: PipelineHarness, silent: Objects, objects: Objects
) -> None:
    number, job_id = _listed(pipeline, 1)
    slow = pipeline.with_bucket(silent, put_limit_s=0.2)

    begun = time.monotonic()
    slow.download(job_id)

    # An ordinary upload waits for twenty seconds and more.
    assert time.monotonic() - begun < PUT_LIMIT_S
    assert [row["state"] for row in factories.documents(pipeline.database, job_id)] == [
        "DOWNLOADED"
    ]
    assert not slow.writer.health.is_ready
    pipeline.work()
    assert _is_stored(pipeline, objects, job_id)
    assert pipeline.requested_files(number) == [1]


def test_a_bucket_that_was_away_is_tried_by_one_thread_at_first() -> None:
    health = BucketHealth(THREADS)
    with pytest.raises(ServiceUnavailable), health.putting():
        raise ServiceUnavailable("S3")
    assert not _is_ready(health)

    health._away_until = 0.0

    assert _is_ready(health)
    with health.putting():
        assert not _is_ready(health), "another thread tries already"
    assert _is_ready(health)


def _is_ready(health: BucketHealth) -> bool:
    return health.is_ready


def test_while_puts_are_slow_files_go_by_the_spool(pipeline: PipelineHarness) -> None:
    _, job_id = _listed(pipeline, 1)
    health = BucketHealth(1, put_limit_s=-1.0)
    writer = replace(pipeline.writer, health=health)
    fetcher = replace(pipeline.slices.fetcher, is_bucket_ready=lambda: health.is_ready)

    with health.putting():
        pipeline.with_slices(writer=writer, fetcher=fetcher).download(job_id)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["spool_id"]) == ("DOWNLOADED", pipeline.spool.spool_id)
    assert len(_files(pipeline)) == 1


def test_what_finds_no_room_in_the_spool_is_requested_again_later(
    pipeline: PipelineHarness, objects: Objects, away: Objects, tmp_path: Path
) -> None:
    _, job_id = _listed(pipeline, 1)

    # Its worker takes the bucket for available until it uploads.
    _full(pipeline.with_bucket(away), tmp_path).download(job_id)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)
    assert row["not_before"] is not None
    assert pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(pipeline.database, longer_than_s=2) == 0
    factories.age(pipeline.database, job_id, 60)
    pipeline.work()
    assert _is_stored(pipeline, objects, job_id)


def test_a_spool_that_cannot_be_used_holds_documents_and_counts_nothing(
    pipeline: PipelineHarness, objects: Objects, away: Objects, tmp_path: Path
) -> None:
    # Given a disk that is gone while the bucket is unavailable
    _, job_id = _listed(pipeline, 1)
    spool = Spool(tmp_path / "gone", pipeline.spool.spool_id, ROOM_BYTES)
    shutil.rmtree(tmp_path / "gone")

    with capture_logs() as lines:
        for _ in range(2):
            pipeline.with_bucket(away).with_slices(spool=spool).download(job_id)
            factories.age(pipeline.database, job_id, 60)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)
    refused = [line for line in lines if line["event"] == "part refuses"]
    assert [(line["part"], line["code"]) for line in refused] == [("The spool", "ENOENT")]
    assert "exc_info" not in str(lines)
    assert spool.trouble() == "The folder of the spool does not exist."
    pipeline.work()
    assert _is_stored(pipeline, objects, job_id)


def test_a_file_without_room_whose_job_is_cancelled_takes_no_other_with_it(
    pipeline: PipelineHarness, store: ObjectStore, tmp_path: Path
) -> None:
    _, job_id = _listed(pipeline, 2)

    def cancel(_: Upload) -> None:
        job_queries.cancel(pipeline.database, CLIENT, job_id)
        raise ServiceUnavailable("S3")

    _full(pipeline.with_bucket(HookedObjects(store, before_put=cancel)), tmp_path).download(
        job_id, 2
    )

    states = {row["state"] for row in factories.documents(pipeline.database, job_id)}
    assert states == {"CANCELLED"}
    assert pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(pipeline.database, longer_than_s=2) == 0


def test_a_file_of_a_job_that_is_cancelled_while_it_is_put_is_left_to_the_sweep(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    _, job_id = _listed(pipeline, 1)
    keys: dict[str, int] = {}

    def cancel(upload: Upload) -> None:
        keys[upload.key] = upload.size_bytes
        job_queries.cancel(pipeline.database, CLIENT, job_id)

    pipeline.with_bucket(HookedObjects(store, after_put=cancel)).download(job_id)

    # The process cannot determine whether another job or installation stored it before.
    assert len(keys) == 1
    assert objects.present(keys) == keys.keys()
    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["object_key"]) == ("CANCELLED", None)
    assert pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(pipeline.database, longer_than_s=2) == 0
    assert _files(pipeline) == []


def test_what_is_stored_lies_below_the_prefix_and_can_be_read_there(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    below = Objects(replace(store, prefix="some/where/"), max_connections=2)
    _, job_id = _listed(pipeline, 2)

    pipeline.with_bucket(below).work()

    rows = factories.documents(pipeline.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert all(key.startswith("some/where/default/processos/") for key in sizes)
    assert below.present(sizes) == sizes.keys() <= {each.key for each in below.documents()}
    url, _ = below.url(min(sizes), lifetime_s=60)
    assert requests.get(url, timeout=60).status_code == 200
