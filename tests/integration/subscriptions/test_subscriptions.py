"""SubscribeCase, UnsubscribeCase and ListSubscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.errors import LimitReached, NotFound
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.subscriptions import subscription_rows
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.grpc_server import (
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.subscriptions.watching import (
    jobs,
    let_due,
    look,
    start_looks,
    subscription,
    watch,
    watched_case,
)
from tests.system.refused_calls import RefusedCall, refusal_of

ONE, OTHER = "1003579-22.2025.8.26.0564", "1011745-77.2025.8.11.0041"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


async def _refusal(call: Any) -> RefusedCall:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def test_each_client_has_its_own_subscriptions(parts: ServerDependencies, tmp_path: Path) -> None:
    file = write_clients(
        tmp_path / "clients.json", entry("alpha", "a"), entry("beta", "b", courts=["8.26"])
    )
    wanted = pb.SubscribeCaseRequest(
        process_number=ONE,
        interval=Duration(seconds=7_200),
        selection=pb.Selection(kinds=["Sentença"]),
        list_only=True,
        labels={"matter": "7"},
    )

    async def scenario() -> None:
        async with running_server(parts, file) as server:
            async with api_of(server.address, "a") as api:
                made = (await api.SubscribeCase(wanted)).subscription
                again = (await api.SubscribeCase(wanted)).subscription
                await api.SubscribeCase(pb.SubscribeCaseRequest(process_number=OTHER))
                first = await api.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=1))
                rest = await api.ListSubscriptions(
                    pb.ListSubscriptionsRequest(page_size=1, page_token=first.next_page_token)
                )
                usage = await api.GetUsage(pb.GetUsageRequest())
            assert again == made
            assert list(first.subscriptions) == [made]
            assert [each.process_number for each in rest.subscriptions] == [OTHER]
            assert rest.subscriptions[0].interval.seconds == 86_400
            assert not rest.next_page_token
            assert usage.subscriptions == 2
            assert made.interval == wanted.interval
            assert made.selection == wanted.selection
            assert (made.list_only, dict(made.labels)) == (True, {"matter": "7"})
            assert made.HasField("next_time")
            async with api_of(server.address, "b") as api:
                assert not (
                    await api.ListSubscriptions(pb.ListSubscriptionsRequest())
                ).subscriptions
                refusal = await _refusal(
                    api.UnsubscribeCase(pb.UnsubscribeCaseRequest(process_number=ONE))
                )
                assert refusal.reason == "SUBSCRIPTION_NOT_FOUND"
                refusal = await _refusal(
                    api.SubscribeCase(pb.SubscribeCaseRequest(process_number=OTHER))
                )
                assert refusal.reason == "CASE_NOT_ALLOWED"
                refusal = await _refusal(
                    api.ListSubscriptions(
                        pb.ListSubscriptionsRequest(page_token=first.next_page_token)
                    )
                )
                assert list(refusal.fields) == ["page_token"]
            async with api_of(server.address, "a") as api:
                await api.UnsubscribeCase(pb.UnsubscribeCaseRequest(process_number=ONE))
                left = (await api.ListSubscriptions(pb.ListSubscriptionsRequest())).subscriptions
                assert [each.process_number for each in left] == [OTHER]

    asyncio.run(scenario())


def test_every_wrong_field_is_named(parts: ServerDependencies) -> None:
    wrong = pb.SubscribeCaseRequest(
        process_number="1",
        interval=Duration(seconds=59 * 60),
        webhook_url="ftp://receiver.test",
        selection=pb.Selection(filed_from_date="2026-02-30"),
        labels={"a b": ""},
    )

    async def scenario() -> RefusedCall:
        async with running_server(parts) as server, api_of(server.address) as api:
            return await _refusal(api.SubscribeCase(wrong))

    refusal = asyncio.run(scenario())
    assert refusal.reason == "INVALID_REQUEST"
    assert sorted(refusal.fields) == [
        "interval",
        "labels",
        "process_number",
        "selection.filed_from_date",
        "webhook_url",
    ]


def test_no_client_watches_more_cases_than_it_may(database: Database) -> None:
    numbers = [factories.process_number() for _ in range(8)]

    def watched(number: str) -> bool:
        try:
            watch(database, number, most=3)
        except LimitReached:
            return False
        return True

    made = run_concurrently([partial(watched, number) for number in numbers])

    assert sum(made) == 3
    known = next(number for number, is_made in zip(numbers, made, strict=True) if is_made)
    # A lowered limit ends none, and a known case may still be changed.
    assert watch(database, known, most=1, interval_s=7_200).interval_s == 7_200
    # Each client has its own number.
    assert watch(database, numbers[0], client="another", most=3)
    subscription_rows.unsubscribe(database, CLIENT, known)
    assert watch(database, factories.process_number(), most=3)


def test_another_call_keeps_what_the_last_look_found(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    before = subscription(pipeline.database)

    watch(pipeline.database, number, interval_s=7_200)

    after = subscription(pipeline.database)
    assert after["baseline"] == before["baseline"]
    assert after["create_time"] == before["create_time"]
    assert after["next_time"] <= before["next_time"]


def test_unsubscribing_ends_a_look_that_is_under_way(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    let_due(pipeline.database)
    [_] = start_looks(pipeline.database)

    subscription_rows.unsubscribe(pipeline.database, CLIENT, number)

    assert jobs(pipeline.database) == []
    pipeline.work()
    assert pipeline.sandbox.request_count(number) == 1
    with pytest.raises(NotFound):
        subscription_rows.unsubscribe(pipeline.database, CLIENT, number)


def test_subscribing_again_begins_with_a_new_baseline(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline)
    subscription_rows.unsubscribe(pipeline.database, CLIENT, number)
    pipeline.sandbox.add_case(documents=3, number=number)
    watch(pipeline.database, number)

    look(pipeline)

    assert pipeline.requested_files(number) == [0, 0, 0]
    assert jobs(pipeline.database) == []
