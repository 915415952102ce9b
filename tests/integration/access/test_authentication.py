"""Test authentication: a client sees only its own jobs, and an unknown caller sees nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.rpc.reflection import METHOD, SERVICES
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import (
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.system.invalid_values import seconds
from tests.system.refused_calls import RefusedCall, refusal_of

OURS, THEIRS = "token-of-ours", "token-of-theirs"
NUMBER = "1003579-22.2025.8.26.0564"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a clients file with "ours" and "theirs"."""
    return write_clients(tmp_path / "clients.json", entry("ours", OURS), entry("theirs", THEIRS))


async def _answer(api: Any, method: str, request: Message) -> Any:
    call = getattr(api, method)(request)
    return [message async for message in call] if method == "WatchProgress" else await call


async def _refusal(api: Any, method: str, request: Message) -> RefusedCall:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answer(api, method, request)
    return refusal_of(caught.value)


BY_JOB: dict[str, Callable[[str, str], Message]] = {
    "GetStatus": lambda job, _: pb.GetStatusRequest(job_id=job),
    "WatchProgress": lambda job, _: pb.WatchProgressRequest(job_id=job),
    "ListDocuments": lambda job, _: pb.ListDocumentsRequest(job_id=job),
    "CancelJob": lambda job, _: pb.CancelJobRequest(job_id=job),
    "GetDocumentUrl": lambda job, doc: pb.GetDocumentUrlRequest(job_id=job, document_id=doc),
    "RetryJob": lambda job, _: pb.RetryJobRequest(job_id=job),
    "RedeliverWebhook": lambda job, _: pb.RedeliverWebhookRequest(job_id=job),
    "WaitJob": lambda job, _: pb.WaitJobRequest(job_id=job),
    "GetDocument": lambda job, doc: pb.GetDocumentRequest(job_id=job, document_id=doc),
}


def test_another_clients_job_is_not_found_exactly_as_an_unknown_one(
    parts: ServerDependencies, file: Path, database: Database
) -> None:
    wanted = factories.request(NUMBER, client="ours")
    job_id = factories.listed_job(database, 1, wanted)
    factories.store_next(database, job_id)
    [document] = factories.documents(database, job_id)
    document_id = str(document["document_id"])

    async def scenario() -> None:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, OURS) as ours,
            api_of(server.address, THEIRS) as theirs,
        ):
            watched = await _answer(ours, "WatchProgress", BY_JOB["WatchProgress"](str(job_id), ""))
            assert watched[-1].job.state == pb.JOB_STATE_COMPLETED
            for method, request in BY_JOB.items():
                unknown = str(uuid4())
                found = await _refusal(theirs, method, request(str(job_id), document_id))
                never = await _refusal(theirs, method, request(unknown, document_id))
                assert found.code == grpc.StatusCode.NOT_FOUND, method
                assert found.reason == "JOB_NOT_FOUND", method
                assert _renamed(found, job_id) == _renamed(never, UUID(unknown)), method
            for method in ("GetStatus", "WatchProgress", "WaitJob"):
                by_number = getattr(pb, f"{method}Request")(process_number=NUMBER)
                assert (await _refusal(theirs, method, by_number)).reason == "JOB_NOT_FOUND"
            assert not (await theirs.ListJobs(pb.ListJobsRequest())).jobs
            [seen] = (await ours.ListJobs(pb.ListJobsRequest())).jobs
            assert seen.job_id == str(job_id)

    asyncio.run(scenario())


def _renamed(refusal: RefusedCall, job_id: UUID) -> tuple[str, ...]:
    """Return the error's text with the id replaced, so that errors can be compared."""
    resource = refusal.resource or ("", "")
    return tuple(part.replace(str(job_id), "it") for part in (refusal.all_text, *resource))


def test_each_client_has_a_job_of_its_own_of_a_case_and_reads_only_that(
    parts: ServerDependencies, file: Path
) -> None:
    async def scenario() -> None:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, OURS) as ours,
            api_of(server.address, THEIRS) as theirs,
        ):
            request = pb.StartDownloadRequest(process_number=NUMBER)
            # Calls of both clients run concurrently, many times: each call must see its own client.
            answers = await asyncio.gather(
                *(api.StartDownload(request) for _ in range(20) for api in (ours, theirs))
            )
            by_client = [{a.job.job_id for a in answers[n::2]} for n in (0, 1)]
            assert [len(ids) for ids in by_client] == [1, 1]
            assert by_client[0] != by_client[1]
            # Watches share feeds within a process: a client cannot join the feed of another client.
            [job_id] = by_client[0]
            watching = ours.WatchProgress(pb.WatchProgressRequest(job_id=job_id))
            assert (await watching.read()).job.job_id == job_id
            refused = await _refusal(
                theirs, "WatchProgress", pb.WatchProgressRequest(job_id=job_id)
            )
            assert refused.reason == "JOB_NOT_FOUND"
            watching.cancel()

    asyncio.run(scenario())


def test_a_page_token_of_one_client_is_none_of_anothers(
    parts: ServerDependencies, file: Path
) -> None:
    async def scenario() -> None:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, OURS) as ours,
            api_of(server.address, THEIRS) as theirs,
        ):
            for _ in range(2):
                started = await ours.StartDownload(pb.StartDownloadRequest(process_number=NUMBER))
                await ours.CancelJob(pb.CancelJobRequest(job_id=started.job.job_id))
            page = await ours.ListJobs(pb.ListJobsRequest(page_size=1))
            assert page.next_page_token
            refused = await _refusal(
                theirs,
                "ListJobs",
                pb.ListJobsRequest(page_size=1, page_token=page.next_page_token),
            )
            assert refused.fields.keys() == {"page_token"}

    asyncio.run(scenario())


WRONG: dict[str, tuple[list[tuple[str, str]], str]] = {
    "nothing": ([], "NO_TOKEN"),
    "an empty header": ([("authorization", "")], "NO_TOKEN"),
    "the bare token": ([("authorization", OURS)], "NO_TOKEN"),
    "another scheme": ([("authorization", f"Basic {OURS}")], "NO_TOKEN"),
    "two tokens": ([("authorization", f"Bearer {t}") for t in (OURS, THEIRS)], "NO_TOKEN"),
    "an empty token": ([("authorization", "Bearer ")], "UNKNOWN_TOKEN"),
    "a stranger's": ([("authorization", "Bearer stranger")], "UNKNOWN_TOKEN"),
    "most of one": ([("authorization", f"Bearer {OURS[:-1]}")], "UNKNOWN_TOKEN"),
    "its hash": (
        [("authorization", f"Bearer {entry('x', OURS)['tokens'][0]['sha256']}")],
        "UNKNOWN_TOKEN",
    ),
}


def test_an_unknown_caller_is_refused_with_the_reason(
    parts: ServerDependencies, file: Path
) -> None:
    async def scenario() -> None:
        async with running_server(parts, file) as server:
            async with grpc.aio.insecure_channel(server.address) as channel:
                for name, (metadata, reason) in WRONG.items():
                    for method in pb.DESCRIPTOR.services_by_name["DownloadService"].methods:
                        refused = await _raw_refusal(channel, method.full_name, metadata)
                        assert refused.code == grpc.StatusCode.UNAUTHENTICATED, (name, method.name)
                        assert refused.reason == reason, (name, method.name)
                        assert OURS not in refused.all_text
            # The scheme is case-insensitive, as in HTTP.
            async with api_of(server.address) as anybody:
                await anybody.ListJobs(
                    pb.ListJobsRequest(), metadata=[("authorization", f"bearer {OURS}")]
                )

    asyncio.run(scenario())


async def _raw_refusal(
    channel: grpc.aio.Channel, full_name: str, metadata: list[tuple[str, str]]
) -> RefusedCall:
    """Return the refusal of bytes that are no request; the server does not parse them."""
    path = "/{}/{}".format(*full_name.rsplit(".", 1))
    if full_name.endswith("WatchProgress"):
        stream: Any = channel.unary_stream(path)
        call = stream(b"\xff", metadata=metadata, timeout=30).read()
    else:
        unary: Any = channel.unary_unary(path)
        call = unary(b"\xff", metadata=metadata, timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def test_without_a_clients_file_every_caller_is_the_client_default(
    parts: ServerDependencies, database: Database
) -> None:
    async def scenario() -> str:
        async with running_server(parts) as server, api_of(server.address, "any") as api:
            answer = await api.StartDownload(pb.StartDownloadRequest(process_number=NUMBER))
            return str(answer.job.job_id)

    assert factories.job(database, UUID(asyncio.run(scenario())))["client"] == "default"


def test_a_token_that_is_taken_out_opens_nothing_and_ends_what_it_has_open(
    parts: ServerDependencies, file: Path
) -> None:
    async def scenario() -> None:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, OURS) as ours,
            api_of(server.address, THEIRS) as theirs,
        ):
            looking = asyncio.create_task(server.callers.keep_current())
            request = pb.StartDownloadRequest(process_number=NUMBER)
            watches = []
            for api in (ours, theirs):
                job_id = (await api.StartDownload(request)).job.job_id
                watch = pb.WatchProgressRequest(job_id=job_id, heartbeat_interval=seconds(1))
                watches.append(api.WatchProgress(watch))
                assert (await watches[-1].read()).HasField("job")

            write_clients(file, entry("ours"), entry("theirs", THEIRS))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _heartbeats(watches[0], 60)
            assert refusal_of(caught.value).reason == "UNKNOWN_TOKEN"
            refused = await _refusal(ours, "ListJobs", pb.ListJobsRequest())
            assert refused.reason == "UNKNOWN_TOKEN"
            await _heartbeats(watches[1], 1)
            watches[1].cancel()
            looking.cancel()

    asyncio.run(scenario())


async def _heartbeats(watch: Any, count: int) -> None:
    """Return after `count` heartbeats."""
    while count:
        count -= (await watch.read()).HasField("heartbeat")


def test_health_and_the_contract_are_open(parts: ServerDependencies, file: Path) -> None:
    async def scenario() -> None:
        async with (
            running_server(parts, file, reflection=True) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            health = health_pb2_grpc.HealthStub(channel)
            check = health_pb2.HealthCheckRequest()
            assert (await health.Check(check, timeout=30)).status
            assert (await health.Watch(check, timeout=30).read()).status
            listing = reflection_pb2.ServerReflectionRequest(list_services="")
            for service in SERVICES:
                ask: Any = channel.stream_stream(
                    f"/{service}/{METHOD}",
                    reflection_pb2.ServerReflectionRequest.SerializeToString,
                    reflection_pb2.ServerReflectionResponse.FromString,
                )
                answer = await ask(iter([listing]), timeout=30).read()
                assert answer.list_services_response.service

    asyncio.run(scenario())
