"""Test calls of StartDownload that are served together: what they share, and what not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import grpc
import grpc.aio
import pytest
import redis
import structlog
from structlog.testing import capture_logs

from actors.hints.hint_channel import HintReceiver, HintSender
from actors.hints.hints import JobWanted, PlaceAsked
from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from server.dependencies import ServerDependencies
from storage import sql
from storage.jobs.job_start import StartAnswer, StartAttempt, start_jobs
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Transaction
from tests.integration.harness.grpc_server import (
    ServerFixture,
    api_of,
    entry,
    running_server,
    service_parts,
)
from tests.integration.harness.leading_scheduler import leading_scheduler
from tests.sandbox.court_cases import cnj

PATIENCE_S = 60.0


class _Hints:
    """Sends nothing until it may; then records the jobs of each round, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may = threading.Event()
        self.rounds: list[list[UUID]] = []
        self._error = error

    def send(self, *hints: JobWanted) -> None:
        assert self.may.wait(PATIENCE_S)
        if self._error:
            raise self._error
        self.rounds.append([hint.job.job_id for hint in hints])


def _request(serial: int) -> pb.StartDownloadRequest:
    return pb.StartDownloadRequest(process_number=cnj.process_number(serial, 2025, "8.26", "0100"))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield the test's Valkey client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a stop deadline that a busy machine can meet."""
    monkeypatch.setattr("server.rpc.starts.start_batcher.SETTLE_S", PATIENCE_S)


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Any:
    with service_parts(database, objects, redis_url) as made:
        yield made


def _with(parts: ServerDependencies, hints: _Hints) -> ServerDependencies:
    return replace(parts, hints=cast("HintSender", hints))


def test_no_call_waits_for_its_hint_and_a_server_that_stops_does(parts: ServerDependencies) -> None:
    hints = _Hints()

    async def scenario() -> tuple[list[pb.StartDownloadResponse], bool]:
        async with (
            running_server(_with(parts, hints)) as server,
            api_of(server.address) as api,
        ):
            answers = [await api.StartDownload(_request(serial)) for serial in (1, 2, 3)]
            assert hints.rounds == []
            settling = asyncio.create_task(server.service.settled())
            await asyncio.sleep(0.05)
            was_open = not settling.done()
            hints.may.set()
            await asyncio.wait_for(settling, PATIENCE_S)
            return answers, was_open

    answers, was_open = asyncio.run(scenario())

    first, second, third = (UUID(answer.job.job_id) for answer in answers)
    assert was_open
    # The hints of jobs that started while the first was sent go in one round.
    assert hints.rounds == [[first], [second, third]]


def test_a_server_that_stops_does_not_wait_for_ever_to_send_hints(
    parts: ServerDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rpc.starts.start_batcher.SETTLE_S", 0.05)
    hints = _Hints()

    async def scenario() -> None:
        async with (
            running_server(_with(parts, hints)) as server,
            api_of(server.address) as api,
        ):
            answer = await api.StartDownload(_request(1))
            await asyncio.wait_for(server.service.settled(), PATIENCE_S / 2)
            assert hints.rounds == []
            # It goes on by itself, and nothing else fails.
            hints.may.set()
            await _until(lambda: hints.rounds == [[UUID(answer.job.job_id)]])

    asyncio.run(scenario())


def test_a_hint_that_breaks_is_logged_and_breaks_no_start(parts: ServerDependencies) -> None:
    hints = _Hints(TypeError("a bug"))
    hints.may.set()

    async def scenario() -> pb.StartDownloadResponse:
        async with (
            running_server(_with(parts, hints)) as server,
            api_of(server.address) as api,
        ):
            answer = await api.StartDownload(_request(1))
            await server.service.settled()
            return cast("pb.StartDownloadResponse", answer)

    with capture_logs() as lines:
        answer = asyncio.run(scenario())

    assert answer.created
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["hints not sent"]


def test_each_start_is_logged_as_its_own_callers(parts: ServerDependencies, tmp_path: Path) -> None:
    file = tmp_path / "clients.json"
    names = ("ana", "bia", "caio")
    file.write_text(json.dumps({"clients": [entry(name, f"token-{name}") for name in names]}))

    async def scenario() -> dict[str, str]:
        async with running_server(parts, file) as server:
            started = _started_together(server, parts)
            return await started

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        jobs = asyncio.run(scenario())

    started_jobs = {
        line["client"]: line["job_id"] for line in lines if line["event"] == "job started"
    }
    assert started_jobs == jobs
    assert set(started_jobs) == set(names)


async def _started_together(server: ServerFixture, parts: ServerDependencies) -> dict[str, str]:
    """Start calls together: the first has its own reading, the others share the next one."""
    may = threading.Event()
    busy = [parts.pool.submit(may.wait, PATIENCE_S) for _ in range(parts.pool._max_workers)]

    async def start(serial: int, name: str) -> tuple[str, str]:
        async with api_of(server.address, f"token-{name}") as api:
            answer = await api.StartDownload(_request(serial))
            return name, answer.job.job_id

    calls: list[Awaitable[tuple[str, str]]] = []
    coalescer = server.service._starts._submitted
    calls.append(asyncio.create_task(start(1, "ana")))
    await _until(lambda: coalescer._reading is not None and not coalescer._submitted)
    calls += [asyncio.create_task(start(2, "bia")), asyncio.create_task(start(3, "caio"))]
    await _until(lambda: len(coalescer._submitted) == 2)
    may.set()
    found = dict(await asyncio.gather(*calls))
    assert all(each.result() for each in busy)
    return found


def test_calls_that_come_together_are_begun_a_few_at_a_time(
    parts: ServerDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noted(
        database: Database, attempts: Sequence[StartAttempt], *, job_deadline_s: int
    ) -> list[StartAnswer]:
        sizes.append(len(attempts))
        return start_jobs(database, attempts, job_deadline_s=job_deadline_s)

    monkeypatch.setattr("server.rpc.starts.start_batcher.start_jobs", noted)
    monkeypatch.setattr("server.rpc.starts.start_batcher.STARTS_TOGETHER", 3)

    async def scenario() -> list[pb.StartDownloadResponse]:
        async with running_server(parts) as server, api_of(server.address) as api:
            calls = [api.StartDownload(_request(serial)) for serial in range(1, 21)]
            return list(await asyncio.gather(*calls))

    answers = asyncio.run(scenario())

    assert all(answer.created for answer in answers)
    assert len({answer.job.job_id for answer in answers}) == 20
    assert sum(sizes) == 20
    assert max(sizes) <= 3


def test_a_call_whose_case_is_busy_is_answered_once_it_is_not(
    parts: ServerDependencies, database: Database
) -> None:
    request = _request(1)

    async def scenario(transaction: Transaction) -> list[pb.StartDownloadResponse]:
        async with running_server(parts) as server, api_of(server.address) as api:
            first = await api.StartDownload(request)
            transaction.all(
                "SELECT FROM jobs WHERE job_id = %(i)s FOR UPDATE", i=UUID(first.job.job_id)
            )
            hooked = pb.StartDownloadRequest(
                process_number=request.process_number,
                webhook_url="https://hooks.tribunal.jus.br/in",
            )
            waiting = asyncio.create_task(_started(api, hooked))
            other = await api.StartDownload(_request(2))
            assert not waiting.done()
            transaction.run("ROLLBACK")
            return [first, other, await asyncio.wait_for(waiting, PATIENCE_S)]

    with database.autocommit() as transaction:
        transaction.run("BEGIN")
        first, other, joined = asyncio.run(scenario(transaction))

    assert other.created
    assert not joined.created
    assert joined.job.job_id == first.job.job_id
    assert [hook.url for hook in joined.job.webhooks] == ["https://hooks.tribunal.jus.br/in"]


async def _started(api: Any, request: pb.StartDownloadRequest) -> pb.StartDownloadResponse:
    answer: pb.StartDownloadResponse = await api.StartDownload(request)
    return answer


def test_a_start_function_that_is_missing_is_a_refusal_that_names_it_and_the_remedy(
    parts: ServerDependencies, database: Database
) -> None:
    name = sql.function("start_jobs").name

    def rename(old: str, new: str) -> None:
        with database.transaction() as transaction:
            transaction.run(f"ALTER FUNCTION {old} RENAME TO {new}")

    async def scenario() -> grpc.StatusCode:
        async with running_server(parts) as server, api_of(server.address) as api:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await api.StartDownload(_request(1))
            return caught.value.code()

    rename(name, "missing")
    try:
        with capture_logs() as lines:
            code = asyncio.run(scenario())
    finally:
        rename("missing", name)

    assert code == grpc.StatusCode.UNAVAILABLE
    assert "jobs not started together" in [line["event"] for line in lines]
    [refused] = [line for line in lines if line["event"] == "part refuses"]
    assert refused["code"] == "42883"
    assert f"function {name}(" in refused["answer"]
    assert refused["answer"].endswith("run `python -m storage.release`")


def test_a_start_returns_the_place_of_its_job_once_the_scheduler_has_published_it(
    parts: ServerDependencies, database: Database, redis_url: str
) -> None:
    async def scenario() -> int:
        async with running_server(parts) as server, api_of(server.address) as api:
            answer = await api.StartDownload(_request(1))
            return int(answer.job.queue_position)

    with leading_scheduler(database, redis_url) as leadership:
        until(lambda: leadership.term is not None, PATIENCE_S, "No scheduler leads.")
        assert asyncio.run(scenario()) == 1


def test_of_many_starts_few_wait_for_their_places(
    parts: ServerDependencies, client: redis.Redis
) -> None:
    async def scenario() -> list[pb.StartDownloadResponse]:
        async with running_server(parts) as server, api_of(server.address) as api:
            calls = [api.StartDownload(_request(serial)) for serial in range(1, 41)]
            return list(await asyncio.gather(*calls))

    # No scheduler leads.
    answers = asyncio.run(scenario())

    hints = HintReceiver(client).receive(0)
    coalescer = [
        job_id for hint in hints if isinstance(hint, PlaceAsked) for job_id in hint.job_ids
    ]
    assert all(answer.created for answer in answers)
    assert not any(answer.job.HasField("queue_position") for answer in answers)
    assert len(set(coalescer)) < 20 < len(answers)
