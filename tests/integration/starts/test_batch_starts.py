"""Test batches: many jobs in one call, each with its own result, and the same when repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.rpc.starts.start_batcher import STARTS_TOGETHER
from storage.jobs import batches, job_queries
from storage.jobs.job_queries import JobFilter
from storage.jobs.job_start import BatchPlace, StartAttempt, start_jobs
from storage.jobs.widening import MOST_SELECTIONS
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import (
    WIDE,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.sandbox.court_cases import cnj
from tests.system.refused_calls import RefusedCall, refusal_of

T = TypeVar("T")
HOOK = "https://hooks.tribunal.jus.br/a"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Yield the parts of a server on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _number(serial: int) -> str:
    return cnj.process_number(serial, 2025, "8.26", "0100")


def _one(serial: int, **fields: Any) -> pb.StartDownloadRequest:
    return pb.StartDownloadRequest(process_number=_number(serial), **fields)


def _many(
    requests: Sequence[pb.StartDownloadRequest], request_id: str = ""
) -> pb.StartDownloadsRequest:
    return pb.StartDownloadsRequest(requests=requests, request_id=request_id)


def _with(parts: ServerDependencies, use: Callable[[Any], Awaitable[T]], **options: Any) -> T:
    """Return the result of `use` with a stub of a server of these parts."""

    async def scenario() -> T:
        async with running_server(parts, **options) as server, api_of(server.address) as api:
            return await use(api)

    return asyncio.run(scenario())


def _started(
    parts: ServerDependencies, *requests: pb.StartDownloadRequest, request_id: str = ""
) -> pb.StartDownloadsResponse:
    answer: pb.StartDownloadsResponse = _with(
        parts, lambda api: api.StartDownloads(_many(requests, request_id))
    )
    return answer


def _refused(parts: ServerDependencies, method: str, request: Any, **options: Any) -> RefusedCall:
    async def use(api: Any) -> RefusedCall:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(api, method)(request)
        return refusal_of(caught.value)

    return _with(parts, use, **options)


def _ids(answer: pb.StartDownloadsResponse) -> list[str]:
    return [each.response.job.job_id for each in answer.results]


def test_more_requests_than_one_transaction_takes_each_get_a_job(
    parts: ServerDependencies, database: Database
) -> None:
    count = 2 * STARTS_TOGETHER + 3

    answer = _started(parts, *map(_one, range(count)))

    assert [each.response.created for each in answer.results] == [True] * count
    for serial, each in enumerate(answer.results):
        view = job_queries.get(database, "default", UUID(each.response.job.job_id))
        assert view.job.process_number == each.response.job.process_number == _number(serial)
        assert str(view.job.batch_id) == each.response.job.batch_id == answer.batch_id
        assert each.response.job.state == pb.JOB_STATE_PROCESSING


def test_jobs_that_begin_together_have_all_that_their_requests_name(
    parts: ServerDependencies, database: Database
) -> None:
    later = Timestamp(seconds=int(time.time()) + 3_600)
    wanted = [
        _one(1, webhook_url=HOOK, labels={"a": "b"}),
        _one(2, priority=pb.PRIORITY_BULK, list_only=True),
        _one(3, not_before_time=later),
        _one(1, webhook_url=f"{HOOK}/2"),
    ]

    answer = _with(
        parts,
        lambda api: api.StartDownloads(_many(wanted)),
        limits=replace(WIDE, jobs_at_once=2, waiting_jobs=1),
    )

    hooked, only_listed, waiting, joined = (each.response.job for each in answer.results)
    assert hooked.state == pb.JOB_STATE_PENDING
    assert hooked == joined
    assert [each.url for each in hooked.webhooks] == [HOOK, f"{HOOK}/2"]
    assert (hooked.revision, hooked.labels["a"]) == (2, "b")
    assert (only_listed.priority, only_listed.list_only) == (pb.PRIORITY_BULK, True)
    assert waiting.not_before_time == later
    rows = [factories.job(database, UUID(job_id)) for job_id in _ids(answer)[:3]]
    assert {row["seat"] for row in rows[:2]} == {1, 2}
    assert rows[2]["seat"] == -1
    waits_s = [(row["deadline_time"] - row["create_time"]).total_seconds() for row in rows]
    assert waits_s == pytest.approx([3_600, 3_600, 7_200], abs=60)
    labelled = job_queries.page(database, JobFilter("default", labels={"a": "b"}), 10)[0]
    assert [str(view.job.job_id) for view in labelled] == [hooked.job_id]


def test_a_request_that_may_not_widen_its_job_does_not_affect_the_others(
    parts: ServerDependencies,
) -> None:
    full = [_one(1, selection=pb.Selection(max_size_bytes=n + 1)) for n in range(MOST_SELECTIONS)]
    _started(parts, *full)
    wanted = [_one(1, selection=pb.Selection(max_size_bytes=99)), _one(2)]

    answer = _started(parts, *wanted)

    assert answer.results[0].error.reason == "INVALID_REQUEST"
    assert [each.field for each in answer.results[0].error.violations] == ["selection"]
    assert answer.results[1].response.created


def test_joined_jobs_with_long_selections_make_no_long_answer(
    parts: ServerDependencies, database: Database
) -> None:
    wanted = [_one(serial, selection=pb.Selection(kinds=["a"])) for serial in range(30)]
    first = _started(parts, *wanted)
    factories.execute(
        database,
        "UPDATE jobs SET selections = selections || jsonb_build_array(jsonb_build_object("
        "'document_ids', (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 9000))))",
    )

    answer = _started(parts, *wanted)

    assert _ids(answer) == _ids(first)
    assert not any(each.response.created for each in answer.results)
    assert answer.ByteSize() < 30 * 1_000


def test_a_refused_request_does_not_affect_the_others(
    parts: ServerDependencies, database: Database
) -> None:
    used, first = str(uuid4()), _one(1)
    kinds = ["Sentença"] * 101
    answer = _with(
        parts,
        partial(
            _after,
            _one(9, request_id=used),
            _many(
                [
                    first,
                    pb.StartDownloadRequest(process_number="1", webhook_url="ftp://x"),
                    _one(2, request_id=used),
                    _one(3, selection=pb.Selection(kinds=kinds), labels={"a b": "c"}),
                    _one(4),
                ]
            ),
        ),
    )

    errors = [each.error for each in answer.results]
    assert [each.reason for each in errors] == [
        "",
        "INVALID_REQUEST",
        "REQUEST_ID_REUSED",
        "INVALID_REQUEST",
        "",
    ]
    assert [v.field for v in errors[1].violations] == ["process_number", "webhook_url"]
    assert [v.field for v in errors[2].violations] == ["request_id"]
    assert [(v.field, v.description) for v in errors[3].violations] == [
        ("selection.kinds", "must have at most 100 values.")
    ]
    assert not any(each.retryable for each in errors)
    assert answer.results[0].response.created
    assert answer.results[4].response.created
    counted = batches.counts(database, "default", UUID(answer.batch_id))
    assert (counted.refused, counted.jobs) == (3, {"PROCESSING": 2})


async def _after(first: Any, request: Any, api: Any) -> pb.StartDownloadsResponse:
    await api.StartDownload(first)
    answer: pb.StartDownloadsResponse = await api.StartDownloads(request)
    return answer


def test_a_batch_beyond_the_limit_of_jobs_fills_it_and_refuses_the_rest(
    parts: ServerDependencies,
) -> None:
    answer = _with(
        parts,
        lambda api: api.StartDownloads(_many([*map(_one, range(6)), _one(0)])),
        limits=replace(WIDE, jobs_at_once=4),
    )

    errors = [each.error for each in answer.results if each.HasField("error")]
    assert [(e.reason, e.retryable) for e in errors] == [("TOO_MANY_JOBS", True)] * 2
    assert all(e.retry_delay.seconds > 0 for e in errors)
    # A case that the same call started needs no further seat.
    created = [each.response.created for each in answer.results if each.HasField("response")]
    assert sorted(created) == [False, True, True, True, True]


def test_a_joined_job_belongs_to_the_batch_that_made_it_and_counts_in_both(
    parts: ServerDependencies,
) -> None:
    async def use(api: Any) -> Any:
        first = await api.StartDownloads(_many([_one(1), _one(1, labels={"a": "b"}), _one(2)]))
        wider = _one(2, webhook_url=HOOK, priority=pb.PRIORITY_HIGH)
        second = await api.StartDownloads(_many([wider, _one(3)]))
        counts = [
            (await api.GetBatch(pb.GetBatchRequest(batch_id=each.batch_id))).batch
            for each in (first, second)
        ]
        listed = [
            [
                job.job_id
                for job in (await api.ListJobs(pb.ListJobsRequest(batch_id=each.batch_id))).jobs
            ]
            for each in (first, second)
        ]
        return first, second, counts, listed

    first, second, counts, listed = _with(parts, use)

    assert [each.response.created for each in first.results] == [True, False, True]
    assert [each.response.created for each in second.results] == [False, True]
    joined = second.results[0].response.job
    assert (joined.job_id, joined.batch_id) == (_ids(first)[2], first.batch_id)
    assert (joined.priority, len(joined.webhooks)) == (pb.PRIORITY_HIGH, 1)
    assert [[(c.state, c.count) for c in each.jobs] for each in counts] == [
        [(pb.JOB_STATE_PROCESSING, 2)],
        [(pb.JOB_STATE_PROCESSING, 2)],
    ]
    assert sorted(listed[0]) == sorted(set(_ids(first)))
    assert listed[1] == [_ids(second)[1]]


def test_a_batch_widens_running_jobs_and_reuses_recent_listings(
    parts: ServerDependencies, database: Database
) -> None:
    known = factories.request(_number(7), client="default")
    factories.listed_job(database, 0, known)

    async def use(api: Any) -> Any:
        first = await api.StartDownloads(_many([_one(1, list_only=True)]))
        return first, await api.StartDownloads(_many([_one(1), _one(7), _one(2)]))

    first, second = _with(parts, use)

    results = [each.response for each in second.results]
    assert [each.created for each in results] == [False, True, True]
    assert results[0].job.job_id == _ids(first)[0]
    assert not results[0].job.list_only
    # It has no documents, so it ended at once.
    assert results[1].job.state == pb.JOB_STATE_COMPLETED


def test_a_repeated_call_returns_the_same_batch(
    parts: ServerDependencies, database: Database
) -> None:
    request_id = str(uuid4())
    wanted = [_one(1), pb.StartDownloadRequest(process_number="1"), _one(1), _one(2)]

    async def use(api: Any) -> Any:
        first = await api.StartDownloads(_many(wanted, request_id))
        for job_id in set(_ids(first)) - {""}:
            await api.CancelJob(pb.CancelJobRequest(job_id=job_id))
        return first, await api.StartDownloads(_many(wanted, request_id))

    first, second = _with(parts, use)

    assert first.batch_id == second.batch_id
    assert _ids(first) == _ids(second)
    for before, after in zip(first.results, second.results, strict=True):
        assert before.error == after.error
        assert before.response.created == after.response.created
    # The jobs are as they are now, and no others were started.
    assert {each.response.job.state for each in second.results} == {0, pb.JOB_STATE_CANCELLED}


def test_calls_with_one_request_id_at_the_same_time_make_one_batch(
    parts: ServerDependencies, database: Database
) -> None:
    request_id, count = str(uuid4()), STARTS_TOGETHER + 5
    request = _many([*map(_one, range(count))], request_id)

    async def scenario() -> list[pb.StartDownloadsResponse]:
        # Of two servers, and twice of each.
        async with (
            running_server(parts) as one,
            running_server(parts) as two,
            api_of(one.address) as first,
            api_of(two.address) as second,
        ):
            calls = [api.StartDownloads(request) for api in (first, second, first, second)]
            return list(await asyncio.gather(*calls))

    answers = asyncio.run(scenario())

    assert len({each.batch_id for each in answers}) == 1
    assert len({tuple(_ids(each)) for each in answers}) == 1
    assert all(each.response.created for answer in answers for each in answer.results)
    counted = batches.counts(database, "default", UUID(answers[0].batch_id))
    assert counted.jobs == {"PROCESSING": count}


def test_a_batch_whose_first_call_was_lost_is_completed_by_the_next(
    parts: ServerDependencies, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rpc.batch_methods.OTHERS_TURN_S", 0.0)
    request_id = str(uuid4())
    wanted = [*map(_one, range(3)), pb.StartDownloadRequest(process_number="1")]
    request = _many(wanted, request_id)

    async def use(api: Any) -> Any:
        first = await api.StartDownloads(request)
        # As if its process had been lost after the first job.
        for job_id in _ids(first)[1:3]:
            await api.CancelJob(pb.CancelJobRequest(job_id=job_id))
        _forget(database, first.batch_id)
        return first, await api.StartDownloads(request)

    first, second = _with(parts, use)

    assert second.batch_id == first.batch_id
    assert _ids(second)[0] == _ids(first)[0]
    assert [each.response.created for each in second.results] == [True, True, True, False]
    assert second.results[3].error == first.results[3].error
    assert set(_ids(second)[1:3]).isdisjoint(_ids(first))


def _forget(database: Database, batch_id: str) -> None:
    """Remove what a call recorded after its first job."""
    factories.execute(
        database, "DELETE FROM batch_items WHERE batch_id = %(id)s AND place > 0", id=batch_id
    )
    factories.execute(
        database, "UPDATE batches SET refused = NULL WHERE batch_id = %(id)s", id=batch_id
    )


def test_a_request_of_a_batch_is_answered_once_whatever_other_calls_do(database: Database) -> None:
    # Two calls work on one batch: the second did not know what the first recorded meanwhile.
    batch = batches.begin(database, factories.CLIENT, None, b"")
    attempts = [
        StartAttempt(factories.request(batch=BatchPlace(batch.batch_id, place)))
        for place in range(2)
    ]
    started = start_jobs(database, attempts, job_deadline_s=60)
    ids = [each.view.job.job_id for each in started if each.view]
    for job_id in ids:
        job_queries.cancel(database, factories.CLIENT, job_id)

    together = start_jobs(database, attempts, job_deadline_s=60)
    alone = start_jobs(database, attempts[:1], job_deadline_s=60)

    assert [each.how for each in (*together, *alone)] == ["recorded"] * 3
    batches.finish(database, batch.batch_id, {0: batches.Refusal("TOO_MANY_JOBS", "late")})
    found = batches.results(database, batch.batch_id)
    assert [(each.job_id, each.refusal) for each in found] == [(job_id, None) for job_id in ids]


@pytest.mark.parametrize("method", ["StartDownload", "StartDownloads"])
def test_a_request_id_of_another_call_is_refused(parts: ServerDependencies, method: str) -> None:
    request_id = str(uuid4())
    other = {
        "StartDownload": _one(1, request_id=request_id),
        "StartDownloads": _many([_one(2)], request_id),
    }[method]

    async def use(api: Any) -> tuple[RefusedCall, int]:
        await api.StartDownloads(_many([_one(1)], request_id))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(api, method)(other)
        return refusal_of(caught.value), len((await api.ListJobs(pb.ListJobsRequest())).jobs)

    refused, jobs = _with(parts, use)

    assert refused.reason == "REQUEST_ID_REUSED"
    assert [*refused.fields] == ["request_id"]
    assert jobs == 1


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (_many([]), ["requests"]),
        (_many([], "1"), ["request_id", "requests"]),
        (_many([_one(1)] * 1_001), ["requests"]),
    ],
)
def test_a_wrong_call_is_refused_whole(
    parts: ServerDependencies, request_: pb.StartDownloadsRequest, fields: list[str]
) -> None:
    found = _refused(parts, "StartDownloads", request_)

    assert (found.reason, sorted(found.fields)) == ("INVALID_REQUEST", fields)


def test_a_batch_counts_as_so_many_starts(parts: ServerDependencies) -> None:
    limits = replace(WIDE, starts_per_minute=10)

    async def use(api: Any) -> tuple[RefusedCall, int]:
        await api.StartDownloads(_many([*map(_one, range(6))]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.StartDownloads(_many([*map(_one, range(6, 12))]))
        for serial in range(4):
            await api.StartDownload(_one(20 + serial))
        return refusal_of(caught.value), len((await api.ListJobs(pb.ListJobsRequest())).jobs)

    refused, jobs = _with(parts, use, limits=limits)

    assert refused.reason == "TOO_MANY_STARTS"
    # Two permits were missing, one comes each 6 s.
    assert 6 < (refused.retry_after_s or 0) <= 15
    assert jobs == 10


def test_no_client_sees_the_batch_of_another(parts: ServerDependencies, tmp_path: Path) -> None:
    file = write_clients(tmp_path / "clients.json", entry("a", "a"), entry("b", "b"))

    async def scenario() -> Any:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, "a") as one,
            api_of(server.address, "b") as two,
        ):
            batch_id = (await one.StartDownloads(_many([_one(1)]))).batch_id
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await two.GetBatch(pb.GetBatchRequest(batch_id=batch_id))
            listed = await two.ListJobs(pb.ListJobsRequest(batch_id=batch_id))
            return batch_id, refusal_of(caught.value), listed

    batch_id, refused, listed = asyncio.run(scenario())

    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "BATCH_NOT_FOUND")
    assert refused.resource == ("autos.downloads.v1.Batch", batch_id)
    assert not listed.jobs


def test_a_batch_sums_the_counters_of_its_jobs(
    parts: ServerDependencies, database: Database
) -> None:
    begun = _started(parts, *map(_one, range(3)))
    assert not _batch(parts, begun.batch_id).progress.HasField("total_documents")

    factories.execute(
        database,
        "UPDATE jobs SET total_documents = 4, completed_documents = 1, failed_documents = 1,"
        " skipped_documents = 1, stored_bytes = 5, listed_time = now(), listing_lease = NULL,"
        " listing_lease_until = NULL WHERE batch_id = %(id)s AND process_number <> %(number)s",
        id=UUID(begun.batch_id),
        number=_number(2),
    )
    unlisted = _batch(parts, begun.batch_id).progress
    assert (unlisted.HasField("total_documents"), unlisted.percent) == (False, 0)
    job_queries.cancel(database, "default", UUID(_ids(begun)[2]))
    batch = _batch(parts, begun.batch_id)

    assert batch.progress == pb.Progress(
        total_documents=8,
        completed_documents=2,
        failed_documents=2,
        pending_documents=2,
        skipped_documents=2,
        stored_bytes=10,
        percent=33.3,
    )
    assert {(each.state, each.count) for each in batch.jobs} == {
        (pb.JOB_STATE_PROCESSING, 2),
        (pb.JOB_STATE_CANCELLED, 1),
    }
    assert batch.create_time.seconds > 0


def _batch(parts: ServerDependencies, batch_id: str) -> pb.Batch:
    answer: pb.GetBatchResponse = _with(
        parts, lambda api: api.GetBatch(pb.GetBatchRequest(batch_id=batch_id))
    )
    return answer.batch
