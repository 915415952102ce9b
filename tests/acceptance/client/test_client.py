"""Test the blocking and the asyncio client against a running Autos."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from autos import (
    JOB_ENDS,
    AsyncClient,
    Client,
    InvalidRequest,
    NotFound,
    NotPossible,
    TookTooLong,
    pb,
)
from tests.system.client_watches import assert_all_once
from tests.system.job_calls import documents, run
from tests.system.running_autos import Autos

DEADLINE_S = 60.0


@pytest.fixture
def client(autos: Autos) -> Iterator[Client]:
    with Client(autos.stack.env["GRPC_LISTEN"]) as client:
        yield client


def test_a_case_from_its_number_to_files_on_the_disk(
    autos: Autos, client: Client, tmp_path: Path
) -> None:
    number = autos.portal.add_case(documents=12, faults={3: "file-404"}, size=30_000)

    started = client.start(number)
    messages = list(client.watch(started.job.job_id, timeout_s=DEADLINE_S))
    job = client.wait(number, timeout_s=DEADLINE_S)
    listed = list(client.documents(job.job_id))
    pulled = client.download_to(tmp_path / "case", job.job_id)

    assert started.created
    assert_all_once(messages, listed)
    assert job == messages[-1].job == client.status(number)
    assert job.state == pb.JOB_STATE_PARTIALLY_COMPLETED
    assert len(listed) == 12
    assert [file.document for file in pulled.files] + list(pulled.missing) == sorted(
        listed, key=lambda d: d.state != pb.DOCUMENT_STATE_AVAILABLE
    )
    for file in pulled.files:
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.document.sha256
    again = client.download_to(tmp_path / "case", job.job_id)
    assert not any(file.is_new for file in again.files)


def test_the_same_for_asyncio(autos: Autos, tmp_path: Path) -> None:
    number = autos.portal.add_case(documents=8, faults={3: "file-404"}, size=30_000)

    async def use() -> None:
        async with AsyncClient(autos.stack.env["GRPC_LISTEN"]) as client:
            started = await client.start(number)
            messages = [m async for m in client.watch(number, timeout_s=DEADLINE_S)]
            job = await client.wait(started.job.job_id, timeout_s=DEADLINE_S)
            listed = [document async for document in client.documents(job.job_id)]
            pulled = await client.download_to(tmp_path, job.job_id)
            jobs = [each async for each in client.jobs(process_number=number)]
            first = await client.document(job.job_id, listed[0].document_id)
            watched = await client.subscribe(number, interval=timedelta(days=2), list_only=True)
            all_watched = [each async for each in client.subscriptions(page_size=1)]
            await client.unsubscribe(number)
            usage = await client.usage()
            url = await client.url(job.job_id, pulled.files[0].document.document_id)
            again = await client.retry(job.job_id)
            cancelled = await client.cancel(job.job_id)
            ended = await client.wait(job.job_id, timeout_s=DEADLINE_S)

            assert_all_once(messages, listed)
            assert [each.job_id for each in jobs] == [job.job_id]
            assert (len(pulled.files), len(pulled.missing)) == (7, 1)
            assert first == listed[0]
            assert watched in all_watched
            assert watched.interval.ToTimedelta() == timedelta(days=2)
            assert usage.client == "default"
            assert usage.open_calls == 1
            assert usage.open_calls_limit == 100
            assert url.url.startswith("http")
            assert again.state not in JOB_ENDS
            assert cancelled.job_id == job.job_id
            assert ended.state in JOB_ENDS
            with pytest.raises(NotFound):
                await client.status(str(uuid4()))
            with pytest.raises(NotPossible):
                await client.redeliver(job.job_id)

    asyncio.run(use())


def test_pages_are_fetched_by_itself(autos: Autos, client: Client) -> None:
    number = autos.portal.add_case(documents=5)
    run(autos, number)
    job = run(autos, number)

    listed = list(client.documents(job.job_id, page_size=2))
    jobs = list(client.jobs(process_number=number, page_size=1))

    assert listed == documents(autos, job)
    assert len(jobs) == 2
    assert jobs[0] == job


def test_many_are_started_in_one_call(autos: Autos, client: Client) -> None:
    numbers = [autos.portal.add_case(documents=n) for n in (1, 2)]
    look = pb.StartDownloadRequest(process_number=numbers[1], list_only=True)

    started = client.start_many([numbers[0], look, "1"], labels={"of": "batch"})
    *_, [batch] = client.watch_batches([started.batch_id], timeout_s=60)

    first, second, refused = started.results
    assert first.response.job.labels == {"of": "batch"}
    assert second.response.job.list_only
    assert not second.response.job.labels
    assert [each.field for each in refused.error.violations] == ["process_number"]
    assert batch == client.batch(started.batch_id)
    assert [(each.state, each.count) for each in batch.jobs] == [(pb.JOB_STATE_COMPLETED, 2)]
    assert (batch.progress.completed_documents, batch.progress.skipped_documents) == (1, 2)
    jobs = [first.response.job.job_id, second.response.job.job_id]
    assert {job.job_id for job in client.jobs(batch_id=started.batch_id)} == {*jobs}


def test_errors_name_what_is_wrong(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="the check digits must be 22") as wrong:
        client.start("1003579-23.2025.8.26.0564")
    with pytest.raises(NotFound) as unknown:
        client.cancel(str(uuid4()))

    assert wrong.value.violations.keys() == {"process_number"}
    assert unknown.value.reason == "JOB_NOT_FOUND"


def test_a_deadline_raises_an_error_and_the_job_goes_on(autos: Autos, client: Client) -> None:
    number = autos.portal.add_case(documents=2)
    autos.portal.hold(number)
    job = client.start(number).job

    with pytest.raises(TookTooLong, match=r"within 0\.3 s"):
        client.wait(job.job_id, timeout_s=0.3)

    autos.portal.release(number)
    assert client.wait(job.job_id, timeout_s=DEADLINE_S).state == pb.JOB_STATE_COMPLETED


def test_an_asyncio_pull_that_is_cancelled_leaves_no_half_file(
    autos: Autos, tmp_path: Path
) -> None:
    job = run(autos, autos.portal.add_case(documents=6, size=2_000_000))

    async def use() -> None:
        async with AsyncClient(autos.stack.env["GRPC_LISTEN"]) as client:
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()
            pulling = asyncio.create_task(
                client.download_to(
                    tmp_path,
                    job.job_id,
                    parallel=1,
                    on_bytes=lambda _: loop.call_soon_threadsafe(begun.set),
                )
            )
            await begun.wait()
            pulling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pulling

    asyncio.run(use())

    left = list(tmp_path.iterdir())
    assert len(left) < 6
    assert not [path for path in left if path.suffix == ".part"]
