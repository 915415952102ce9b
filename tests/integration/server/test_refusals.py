"""Test that each method reports an outage or a bug correctly, without internals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest
import structlog
from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_servers import EmbeddedServers
from server.__main__ import parts_of
from server.access.authentication import Authenticator
from server.dependencies import ServerDependencies
from server.rpc.error_interceptor import ErrorInterceptor
from server.rpc.service import DownloadService
from storage.clients.client_registry import CallingClient, ClientLimits
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from storage.settings import Settings
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.contract_reasons import METHOD_NAMES
from tests.databases import create_database, database_url
from tests.system.refused_calls import RefusedCall, refusal_of

NUMBER = "1003579-22.2025.8.26.0564"
STREAMS = {"WatchProgress", "GetCaseListing"}


@contextmanager
def _parts(servers: EmbeddedServers, url: str) -> Iterator[ServerDependencies]:
    env = {"DATABASE_URL": url, "PDPJ_TOKEN": PORTAL_TOKEN, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    parts = parts_of(Settings.from_env(servers.env | env))
    yield parts
    parts.database.close()
    parts.pool.shutdown()


def _requests() -> dict[str, Message]:
    """Return a valid request for each method."""
    job_id = str(uuid4())
    fields: dict[str, dict[str, Any]] = {
        "StartDownload": {"process_number": NUMBER},
        "StartDownloads": {"requests": [pb.StartDownloadRequest(process_number=NUMBER)]},
        "GetBatch": {"batch_id": job_id},
        "ListJobs": {},
        "ListEvents": {},
        "GetUsage": {},
        "SendTestWebhook": {"webhook_url": "https://hooks.tribunal.jus.br/autos"},
        "SubscribeCase": {"process_number": NUMBER},
        "UnsubscribeCase": {"process_number": NUMBER},
        "ListSubscriptions": {},
        "GetCase": {"process_number": NUMBER},
        "GetCaseListing": {"process_number": NUMBER},
        "GetDocumentUrl": {"job_id": job_id, "document_id": job_id},
        "GetDocument": {"job_id": job_id, "document_id": job_id},
    }
    return {
        method: getattr(pb, f"{method}Request")(**fields.get(method, {"job_id": job_id}))
        for method in METHOD_NAMES
    }


async def _refusals(parts: ServerDependencies) -> dict[str, RefusedCall]:
    """Return the refusal of each method by a server of these parts."""
    callers = Authenticator(None, CallingClient("default", ClientLimits(*[100] * 5)))
    service = DownloadService(parts)
    guard = ErrorInterceptor(callers, service.turns, service.calls)
    server = grpc.aio.server(interceptors=[guard])
    pb_grpc.add_DownloadServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            api = pb_grpc.DownloadServiceStub(channel)
            return {name: await _refusal(api, name, each) for name, each in _requests().items()}
    finally:
        await server.stop(None)


async def _refusal(api: Any, method: str, request: Message) -> RefusedCall:
    call = getattr(api, method)(request, timeout=60)
    with pytest.raises(grpc.RpcError) as caught:
        await (call.read() if method in STREAMS else call)
    return refusal_of(caught.value)


def test_without_postgresql_every_method_is_unavailable_for_now(servers: EmbeddedServers) -> None:
    with _parts(servers, database_url(servers.env["DATABASE_URL"], "nobody_made_it")) as parts:
        refusals = asyncio.run(_refusals(parts))

    for method, found in refusals.items():
        assert found.code == grpc.StatusCode.UNAVAILABLE, method
        assert found.reason == "UNAVAILABLE", method
        assert found.retry_after_s, method


COLUMNS = (
    "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0"
)


def test_a_fault_of_ours_is_internal_with_nothing_but_its_id(servers: EmbeddedServers) -> None:
    # Every statement meets a missing column.
    url = create_database(servers.env["DATABASE_URL"], "without_columns")
    with closing(Database(url, max_connections=1)) as database:
        migrate(database)
        with database.raw() as db:
            for table, column in db.execute_sql(COLUMNS).fetchall():
                db.execute_sql(
                    f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "other_{column}"'
                )
    with _parts(servers, url) as parts, structlog.testing.capture_logs() as logged:
        refusals = asyncio.run(_refusals(parts))

    bugs = {line["error_id"] for line in logged if line["event"] == "bug"}
    for method, found in refusals.items():
        assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL"), method
        [error_id] = [each for each in bugs if each in found.text]
        bugs.remove(error_id)
