"""What a client may not ask for, by its court, its number or its seal, it does not get."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.errors import PermanentError
from storage.listings import listing_record
from storage.listings.listed_case import CaseListing
from storage.listings.listing_import import ListingImport
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import (
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.system.refused_calls import RefusedCall, refusal_of

NUMBER = "1003579-22.2025.8.26.0564"
ELSEWHERE = "0000001-06.2025.8.19.0001"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """A service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


async def _refusal(call: Any) -> RefusedCall:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def _start(number: str, **more: Any) -> pb.StartDownloadRequest:
    return pb.StartDownloadRequest(process_number=number, **more)


def _jobs(database: Database) -> int:
    with database.transaction() as transaction:
        return int(transaction.only("SELECT count(*) FROM jobs")["count"])


def test_a_case_that_a_client_may_not_ask_for_is_refused_before_anything(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = write_clients(
        tmp_path / "clients.json",
        entry("court", "a", courts=["8.26"], limits={"starts_per_minute": 1}),
        entry("case", "b", cases=[ELSEWHERE]),
        entry("free", "c"),
    )

    async def scenario() -> None:
        async with running_server(parts, file) as server:
            for token, number in (("a", ELSEWHERE), ("b", NUMBER)):
                async with api_of(server.address, token) as api:
                    refused = await _refusal(api.StartDownload(_start(number)))
                    assert refused.code == grpc.StatusCode.PERMISSION_DENIED
                    assert (refused.domain, refused.reason) == ("autos", "CASE_NOT_ALLOWED")
            assert _jobs(parts.database) == 0
            # It did not count, either.
            async with api_of(server.address, "a") as api:
                await api.StartDownload(_start(NUMBER))
            async with api_of(server.address, "c") as api:
                await api.StartDownload(_start(NUMBER))
                await api.StartDownload(_start(ELSEWHERE))

    asyncio.run(scenario())


def _claimed_listing(database: Database, job_id: UUID, levels: Sequence[str]) -> None:
    """Record a listing whose documents have these levels of secrecy."""
    claim = factories.listing_claim(database, job_id)
    documents = (factories.listed(i, secrecy_level=level) for i, level in enumerate(levels))
    case = CaseListing(0, tuple(documents))
    listing_record.record(
        database, claim, ListingImport.of(claim.client, claim.process_number, case)
    )


def _list_sealed_and_fail(database: Database, job_id: UUID) -> None:
    """A job of a case with a sealed document, none of whose documents could be fetched."""
    levels = ("PUBLICO", "SIGILO_MEDIO")
    _claimed_listing(database, job_id, levels)
    for _ in levels:
        claim = factories.claimed(database, job_id)
        attempts.fail_attempt(
            database, claim, PermanentError("NOT_FOUND", "Not there."), factories.POLICY
        )


def test_a_sealed_case_is_refused_by_the_clients_setting(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = write_clients(
        tmp_path / "clients.json", entry("house", "a", sealed="fetch"), entry("stranger", "b")
    )

    async def scenario() -> dict[str, bool]:
        async with running_server(parts, file) as server:
            for token in ("a", "b"):
                async with api_of(server.address, token) as api:
                    await api.StartDownload(_start(NUMBER))
        with parts.database.transaction() as transaction:
            rows = transaction.all("SELECT client, refuses_sealed FROM jobs")
        return {row["client"]: row["refuses_sealed"] for row in rows}

    assert asyncio.run(scenario()) == {"house": False, "stranger": True}


def test_a_retry_is_refused_when_the_case_is_not_allowed_any_more(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = tmp_path / "clients.json"
    write_clients(file, entry("house", "a"))

    async def scenario() -> None:
        async with running_server(parts, file) as server, api_of(server.address, "a") as api:
            job = (await api.StartDownload(_start(NUMBER))).job
            await asyncio.to_thread(_list_sealed_and_fail, parts.database, UUID(job.job_id))
            retry = pb.RetryJobRequest(job_id=job.job_id)
            assert server.clients
            for changed in ({"sealed": "refuse"}, {"courts": ["8.19"]}):
                write_clients(file, entry("house", "a", **changed))
                server.clients.refresh()
                refused = await _refusal(api.RetryJob(retry))
                assert refused.reason == "CASE_NOT_ALLOWED", changed
            write_clients(file, entry("house", "a", courts=["8.26"]))
            server.clients.refresh()
            answer = await api.RetryJob(retry)
            assert answer.job.state == pb.JOB_STATE_PROCESSING

    asyncio.run(scenario())


def test_a_refused_case_is_had_by_a_retry_once_it_is_allowed(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = write_clients(tmp_path / "clients.json", entry("house", "a", sealed="refuse"))

    async def scenario() -> None:
        async with running_server(parts, file) as server, api_of(server.address, "a") as api:
            job_id = UUID((await api.StartDownload(_start(NUMBER))).job.job_id)
            levels = ("PUBLICO", "SIGILO_MEDIO")
            await asyncio.to_thread(_claimed_listing, parts.database, job_id, levels)
            job = (await api.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))).job
            assert (job.state, job.error.reason) == (pb.JOB_STATE_FAILED, "SEALED")
            assert job.sealed
            assert not job.HasField("secrecy_level")
            assert not job.progress.HasField("total_documents")
            listed = await api.ListDocuments(pb.ListDocumentsRequest(job_id=str(job_id)))
            assert not listed.documents
            write_clients(file, entry("house", "a", sealed="fetch"))
            assert server.clients
            server.clients.refresh()
            await api.RetryJob(pb.RetryJobRequest(job_id=str(job_id)))
            await asyncio.to_thread(_claimed_listing, parts.database, job_id, levels)
            listed = await api.ListDocuments(pb.ListDocumentsRequest(job_id=str(job_id)))
            assert len(listed.documents) == 2

    asyncio.run(scenario())


def test_a_webhook_is_refused_while_nothing_can_sign_it(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = write_clients(tmp_path / "clients.json", entry("a", "a"), entry("b", "b"))
    secret = "whsec_" + base64.b64encode(b"a" * 32).decode()

    async def scenario() -> None:
        async with running_server(parts, file) as server, api_of(server.address, "b") as api:
            request = _start(NUMBER, webhook_url="https://hooks.tribunal.jus.br/a")
            refused = await _refusal(api.StartDownload(request))
            assert refused.reason == "INVALID_REQUEST"
            assert "webhook_url: this client has no secret" in refused.text
            assert _jobs(parts.database) == 0
            write_clients(file, entry("a", "a"), entry("b", "b", webhook_secrets=[secret]))
            assert server.clients
            server.clients.refresh()
            assert len((await api.StartDownload(request)).job.webhooks) == 1

    asyncio.run(scenario())
