"""Test that spooled files reach the bucket: by message, by polling, and after outages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from actors.hints.hints import Ended
from actors.pipeline.upload import Uploader
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.pipeline_hooks import HookedObjects

DOCUMENTS = 3


def _nothing() -> None:
    """Start no further thread."""


def _spooled(pipeline: PipelineHarness, documents: int = DOCUMENTS) -> tuple[str, UUID]:
    """Return a case and its job with its files in the spool."""
    number = pipeline.sandbox.add_case(documents=documents)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    for _ in range(documents):
        pipeline.download(job_id)
    assert _states(pipeline, job_id) == ["DOWNLOADED"] * documents
    assert len(_files(pipeline)) == documents
    pipeline.hinted()
    return number, job_id


def _states(pipeline: PipelineHarness, job_id: UUID) -> list[str]:
    return [row["state"] for row in factories.documents(pipeline.database, job_id)]


def _files(pipeline: PipelineHarness) -> list[Path]:
    return [*pipeline.spool.leases(older_than_s=0, now=2**40).values()]


def _uploads(pipeline: PipelineHarness) -> list[tuple[UUID, UUID, UUID]]:
    """Return the arguments of the messages to the uploader of this spool."""
    queue = f"upload.{pipeline.spool.spool_id}"
    sent = [arguments for name, arguments in pipeline.sent() if name == queue]
    return [(UUID(job), UUID(document), UUID(lease)) for job, document, lease in sent]


def _with_bucket(pipeline: PipelineHarness, objects: Objects) -> Uploader:
    """Return the uploader with another bucket."""
    writer = replace(pipeline.uploader.writer, objects=objects)
    return replace(pipeline.uploader, writer=writer)


def test_a_message_stores_its_file_and_whatever_else_waits(pipeline: PipelineHarness) -> None:
    number, job_id = _spooled(pipeline)
    messages = _uploads(pipeline)
    assert len(messages) == DOCUMENTS

    pipeline.uploader.upload_document(*messages[-1])

    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
    assert _files(pipeline) == []
    assert pipeline.requested_files(number) == [1] * DOCUMENTS
    ended = [hint.token for hint in pipeline.hinted() if isinstance(hint, Ended)]
    assert sorted(ended) == sorted(document for _, document, _ in messages)
    # A message for completed work has no effect.
    pipeline.uploader.upload_document(*messages[0])
    assert factories.job(pipeline.database, job_id)["completed_documents"] == DOCUMENTS


def test_a_scan_stores_one_file_and_reports_it_before(pipeline: PipelineHarness) -> None:
    _, job_id = _spooled(pipeline)
    found: list[list[str]] = []

    assert pipeline.uploader.poll(lambda: found.append(_states(pipeline, job_id)))

    assert found == [["DOWNLOADED"] * DOCUMENTS]
    assert sorted(_states(pipeline, job_id)) == ["AVAILABLE", *["DOWNLOADED"] * 2]
    assert pipeline.uploader.poll(_nothing)
    assert pipeline.uploader.poll(_nothing)
    assert not pipeline.uploader.poll(_nothing)


def test_a_bucket_that_is_away_puts_a_file_off_and_counts_no_attempt(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    number, job_id = _spooled(pipeline, 1)
    (message,) = _uploads(pipeline)
    away = Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=1)

    assert not _with_bucket(pipeline, away).poll(_nothing)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["pause_count"]) == ("DOWNLOADED", 1, 1)
    assert _uploads(pipeline) == [message]
    assert not pipeline.uploader.poll(_nothing), "it is tried before its pause is over"
    factories.age(pipeline.database, job_id, 60)
    pipeline.work()
    assert _states(pipeline, job_id) == ["AVAILABLE"]
    assert pipeline.requested_files(number) == [1]


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "altered"])
def test_a_file_that_is_gone_or_altered_is_requested_again(
    pipeline: PipelineHarness, is_gone: bool
) -> None:
    number, job_id = _spooled(pipeline, 1)
    (path,) = _files(pipeline)
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    pipeline.uploader.poll(_nothing)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 1)
    assert _files(pipeline) == []
    assert [hint.returned for hint in pipeline.hinted() if isinstance(hint, Ended)] == [
        (row["document_id"],)
    ]
    pipeline.work()
    assert _states(pipeline, job_id) == ["AVAILABLE"]
    assert pipeline.requested_files(number) == [2]


def test_a_file_that_is_gone_with_its_job_is_no_error(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    _, job_id = _spooled(pipeline, 1)
    (path,) = _files(pipeline)

    def lose(_: Upload) -> None:
        path.unlink()
        job_queries.cancel(pipeline.database, CLIENT, job_id)

    assert _with_bucket(pipeline, HookedObjects(store, before_put=lose)).poll(_nothing)

    assert _states(pipeline, job_id) == ["CANCELLED"]


def test_a_file_of_a_job_that_is_cancelled_while_it_is_put_leaves_the_spool(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    _, job_id = _spooled(pipeline, 1)

    def cancel(_: Upload) -> None:
        job_queries.cancel(pipeline.database, CLIENT, job_id)

    assert _with_bucket(pipeline, HookedObjects(store, after_put=cancel)).poll(_nothing)

    (row,) = factories.documents(pipeline.database, job_id)
    assert (row["state"], row["object_key"]) == ("CANCELLED", None)
    assert _files(pipeline) == []


def test_an_uploader_that_stops_takes_no_further_file(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    _, job_id = _spooled(pipeline)
    puts: list[str] = []
    bucket = HookedObjects(store, before_put=lambda upload: puts.append(upload.key))
    uploader = replace(_with_bucket(pipeline, bucket), is_stopping=lambda: bool(puts))

    uploader.upload_document(*_uploads(pipeline)[0])

    assert len(puts) == 1
    assert sorted(_states(pipeline, job_id)) == ["AVAILABLE", *["DOWNLOADED"] * 2]


def test_postgresql_that_is_away_puts_a_message_off(pipeline: PipelineHarness) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    _, job_id = _spooled(pipeline, 1)
    (message,) = _uploads(pipeline)
    uploader = replace(pipeline.uploader, database=nowhere)

    uploader.upload_document(*message)
    with pytest.raises(ServiceUnavailable):
        uploader.poll(_nothing)

    assert _states(pipeline, job_id) == ["DOWNLOADED"]
