"""The log of events: nothing is skipped, repeated or shown to another client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.errors import ShuttingDown
from server.rpc import event_methods
from storage.errors import EventsGone, PermanentError
from storage.events import event_log
from storage.events.event_log import LoggedEvent
from storage.job_end.completion import end
from storage.jobs import job_queries
from storage.objects import adoption
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.postgres.database import Database
from storage.records import JobRecord
from storage.states import JobState
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, HOOK
from tests.integration.harness.grpc_server import (
    THREADS,
    WIDE,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.system.invalid_values import seconds
from tests.system.refused_calls import refusal_of

LATE = 60 * 86_400
WRITERS, EACH = 4, 12


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _ended(database: Database, **values: Any) -> UUID:
    """A job that a call cancelled."""
    view, _ = factories.start(database, factories.request(**values))
    job_queries.cancel(database, view.job.client, view.job.job_id)
    return view.job.job_id


def _numbers(database: Database, client: str = CLIENT) -> list[int]:
    found: list[int] = []
    while page := event_log.page(database, client, found[-1] if found else 0, 500)[0]:
        found += [each.number for each in page]
    return found


def _job(event: LoggedEvent) -> JobRecord:
    """The job of an end."""
    assert event.job is not None
    return event.job


def test_a_reader_beside_writers_sees_every_event_once(database: Database) -> None:
    made: list[UUID] = []
    is_over = threading.Event()

    def write() -> None:
        made.extend(_ended(database) for _ in range(EACH))

    def read() -> list[UUID]:
        seen, after = [], 0
        while True:
            was_over = is_over.is_set()
            page = event_log.page(database, CLIENT, after, 3)[0]
            seen += [_job(each).job_id for each in page]
            after = page[-1].number if page else after
            if was_over and not page:
                return seen

    with ThreadPoolExecutor(WRITERS + 2) as pool:
        readings = [pool.submit(read) for _ in range(2)]
        for writing in [pool.submit(write) for _ in range(WRITERS)]:
            writing.result()
        is_over.set()
        for reading in readings:
            seen = reading.result()
            assert len(seen) == len(set(seen)) == WRITERS * EACH
            assert set(seen) == set(made)


def test_an_event_that_commits_late_is_not_skipped(database: Database) -> None:
    view, _ = factories.start(database, factories.request())
    with ThreadPoolExecutor(1) as elsewhere, database.transaction() as slow:
        job = job_queries.own(slow, CLIENT, view.job.job_id, is_locked=True)
        end(slow, job["job_id"], JobState.CANCELLED)
        # A thread has a connection of its own.
        other = elsewhere.submit(_ended, database).result()
        [first] = elsewhere.submit(event_log.page, database, CLIENT, 0, 10).result()[0]
        assert _job(first).job_id == other

    [second] = event_log.page(database, CLIENT, first.number, 10)[0]
    assert _job(second).job_id == view.job.job_id
    assert second.event_time < first.event_time


def _fail(database: Database, job_id: UUID) -> None:
    """Let the next document of a job fail for good."""
    error = PermanentError("NOT_FOUND", "The portal does not have it.")
    attempts.fail_attempt(database, factories.claimed(database, job_id), error, factories.POLICY)


def test_an_event_says_what_the_run_ended_with_although_another_one_began(
    database: Database, objects: Objects
) -> None:
    job_id = factories.listed_job(database, 2)
    stored = factories.store_next(database, job_id)
    _fail(database, job_id)
    [event] = event_log.page(database, CLIENT, 0, 10)[0]
    before = event_log.documents(database, event)
    assert [each.state for each in before] == ["AVAILABLE", "FAILED"]
    assert before[0].document_id == stored.document_id

    factories.rerun(database, objects, job_id)

    [superseded] = event_log.page(database, CLIENT, 0, 10)[0]
    assert superseded == event
    assert event_log.documents(database, event) == before


def test_old_ends_are_deleted_and_a_reader_that_missed_them_learns_so(
    database: Database, objects: Objects
) -> None:
    first, second = (factories.listed_job(database, 1) for _ in range(2))
    for job_id in (first, first, second, second):
        if factories.job(database, job_id)["end_time"]:
            factories.rerun(database, objects, job_id)
        _fail(database, job_id)
    seen = event_log.page(database, CLIENT, 0, 1)[0][-1].number
    factories.execute(database, "UPDATE events SET event_time = event_time - interval '90 days'")

    assert event_log.delete_old(database, age_s=LATE) == 2
    assert event_log.delete_old(database, age_s=LATE) == 0

    # The newest end of a job stays as long as the job.
    ends = event_log.page(database, CLIENT, 0, 10)[0]
    assert [(_job(each).job_id, _job(each).run) for each in ends] == [(first, 2), (second, 2)]
    with pytest.raises(EventsGone):
        event_log.page(database, CLIENT, seen, 10)[0]
    assert event_log.page(database, CLIENT, ends[-1].number, 10)[0] == []


def test_a_cursor_from_before_a_restore_is_refused(database: Database) -> None:
    _ended(database)
    [only] = event_log.page(database, CLIENT, 0, 10)[0]

    with pytest.raises(EventsGone):
        event_log.page(database, CLIENT, only.number + 1, 10)[0]


def test_a_cursor_from_before_a_restore_skips_no_event_after_it(
    database: Database, objects: Objects
) -> None:
    for _ in range(3):
        _ended(database)
    [*_, last] = event_log.page(database, CLIENT, 0, 10)[0]
    # The backup had the first event only, and none of another client.
    factories.execute(database, "DELETE FROM events WHERE number > 1")
    factories.execute(database, "UPDATE event_numbers SET last_number = 1")

    adoption.adopt(database, objects)
    for client in (CLIENT, "beta"):
        made = {_ended(database, client=client) for _ in range(4)}
        found = event_log.page(database, client, 0, 10)[0][-4:]
        if client == CLIENT:
            assert found == event_log.page(database, client, last.number, 10)[0]
        assert {_job(each).job_id for each in found} == made
        assert found[0].number > last.number


def test_callers_read_page_after_page(parts: ServerDependencies, tmp_path: Any) -> None:
    jobs = [str(_ended(parts.database, client="alpha", webhook_url=HOOK)) for _ in range(5)]
    clients = entry("alpha", "a" * 40), entry("beta", "b" * 40)
    file = write_clients(tmp_path / "clients.json", *clients)

    async def scenario() -> None:
        async with running_server(parts, file) as server:
            async with api_of(server.address, "a" * 40) as api:
                seen, cursor, has_more = [], "", True
                while has_more:
                    page = await api.ListEvents(
                        pb.ListEventsRequest(after_cursor=cursor, page_size=2)
                    )
                    seen += [each.event.data.job.job_id for each in page.events]
                    cursor, has_more = page.events[-1].cursor, page.has_more
                assert seen == jobs
                assert page.events[0].event.type == "download.cancelled"
                status = await api.GetStatus(pb.GetStatusRequest(job_id=jobs[-1]))
                assert page.events[0].webhook_id == status.job.webhooks[0].webhook_id
            async with api_of(server.address, "b" * 40) as api:
                assert await api.ListEvents(pb.ListEventsRequest()) == pb.ListEventsResponse()
                for wrong in (cursor, "x", "W10", "é"):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await api.ListEvents(pb.ListEventsRequest(after_cursor=wrong))
                    refusal = refusal_of(refused.value)
                    assert refusal.reason == "INVALID_REQUEST"
                    assert list(refusal.fields) == ["after_cursor"]

    asyncio.run(scenario())


def test_a_call_waits_for_the_next_event_and_no_longer(parts: ServerDependencies) -> None:
    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            empty = await api.ListEvents(pb.ListEventsRequest(wait=seconds(1)))
            assert not empty.events
            waits = [api.ListEvents(pb.ListEventsRequest(wait=seconds(60))) for _ in range(20)]
            async with asyncio.timeout(30):
                while server.service.open_watches.count("default") < len(waits):
                    await asyncio.sleep(0.01)
            # The server has fewer threads than calls that wait, and serves others.
            assert len(waits) > THREADS
            assert not (await api.ListJobs(pb.ListJobsRequest())).jobs
            job_id = await asyncio.to_thread(_ended, parts.database, client="default")
            for wait in waits:
                [event] = (await wait).events
                assert event.event.data.job.job_id == str(job_id)

    asyncio.run(scenario())


def test_only_a_call_that_waits_counts_as_a_watch(parts: ServerDependencies) -> None:
    one = replace(WIDE, open_watches=1)

    async def scenario() -> None:
        async with running_server(parts, limits=one) as server, api_of(server.address) as api:
            first = api.ListEvents(pb.ListEventsRequest(wait=seconds(60)))
            async with asyncio.timeout(30):
                while not server.service.event_waiter.count:
                    await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await api.ListEvents(pb.ListEventsRequest(wait=seconds(60)))
            assert refusal_of(refused.value).reason == "TOO_MANY_WATCHES"
            assert not (await api.ListEvents(pb.ListEventsRequest())).events
            first.cancel()

    asyncio.run(scenario())


def test_every_wrong_field_is_named(parts: ServerDependencies) -> None:
    wrong = pb.ListEventsRequest(after_cursor="x", page_size=-1, wait=seconds(-1))

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await api.ListEvents(wrong)
            refusal = refusal_of(refused.value)
            assert refusal.reason == "INVALID_REQUEST"
            assert sorted(refusal.fields) == ["after_cursor", "page_size", "wait"]

    asyncio.run(scenario())


def test_calls_that_wait_learn_that_the_server_stops(parts: ServerDependencies) -> None:
    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            wait = api.ListEvents(pb.ListEventsRequest(wait=seconds(60)))
            async with asyncio.timeout(30):
                while not server.service.event_waiter.count:
                    await asyncio.sleep(0.01)
            await server.service.event_waiter.close()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await wait
            assert refusal_of(refused.value).reason == ShuttingDown().reason

    asyncio.run(scenario())


def test_a_page_has_a_size_and_an_event_that_exceeds_it_has_no_documents(
    parts: ServerDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_methods, "PAGE_BYTES", 3_000)
    monkeypatch.setattr(event_methods, "MOST_JSON_BYTES", 2_900)
    for documents in (3, 3, 40):
        wanted = factories.request(client="default")
        job_id = factories.listed_job(parts.database, documents, wanted)
        job_queries.cancel(parts.database, "default", job_id)

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            cursor, counts, has_more = "", [], True
            while has_more:
                page = await api.ListEvents(pb.ListEventsRequest(after_cursor=cursor))
                assert page.events
                assert page.ByteSize() < 3_500
                counts += [
                    (len(e.event.data.documents), e.event.data.documents_omitted)
                    for e in page.events
                ]
                cursor, has_more = page.events[-1].cursor, page.has_more
            assert counts == [(3, False), (3, False), (0, True)]
            bare = await api.ListEvents(pb.ListEventsRequest(without_documents=True))
            assert [len(e.event.data.documents) for e in bare.events] == [0, 0, 0]
            assert all(e.event.data.documents_omitted for e in bare.events)

    asyncio.run(scenario())
