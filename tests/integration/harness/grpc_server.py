"""Run the gRPC server in the test's own loop, on its database, with the clients it chooses."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import redis
from grpc_health.v1 import health, health_pb2_grpc

from actors.hints.hint_channel import HintSender, make_client
from actors.messaging.enqueuer import Enqueuer, make_broker
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.access.authentication import Authenticator
from server.access.connection_guard import ConnectionGuard, UnknownLimits, connection_options
from server.access.unknown_callers import DEFAULT_LIMITS, UnknownCallers, UnknownCallLimits
from server.dependencies import ServerDependencies
from server.queue.queue_view import QueueView
from server.rpc.error_interceptor import ErrorInterceptor, read_request
from server.rpc.reflection import add_reflection
from server.rpc.service import DownloadService
from storage.clients.client_registry import CallingClient, ClientLimits
from storage.clients.clients_file import ClientsFile
from storage.clients.webhook_secrets import WebhookSecrets
from storage.health.holds import Holds
from storage.jobs.call_rate_limiter import REPEATS, CallRateLimiter
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.scheduling.published_positions import PlaceReader
from storage.webhook_policy import WebhookPolicy
from tests.conftest import WEBHOOK_SECRET
from tests.integration.harness.factories import LOGIN

WIDE = ClientLimits(*[1_000_000] * 5)
THREADS = 4
TIMEOUT_S = 60.0
# Without this option the channels of a process to one address share a connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True)
class ServerFixture:
    """The address of the server, and its parts."""

    address: str
    server: grpc.aio.Server
    callers: Authenticator
    clients: ClientsFile | None
    service: DownloadService


def queue_view(
    database: Database, client: redis.Redis, *, clock: Callable[[], float] = time.monotonic
) -> QueueView:
    """Return the queue view of a server."""
    holds = Holds(database, LOGIN)
    return QueueView(PlaceReader(client), HintSender(client), holds, clock=clock)


@contextmanager
def service_parts(
    database: Database, objects: Objects, redis_url: str
) -> Iterator[ServerDependencies]:
    """Return the parts of a DownloadService."""
    with ThreadPoolExecutor(THREADS) as pool, make_client(redis_url, timeout_s=5) as client:
        yield ServerDependencies(
            database=database,
            objects=objects,
            messages=Enqueuer(make_broker(redis_url, timeout_s=5)),
            hints=HintSender(client),
            receivers=WebhookPolicy.from_entries(()),
            pool=pool,
            redis_url=redis_url,
            listing_max_age_s=3_600,
            job_deadline_s=3_600,
            queue=queue_view(database, client),
            login=LOGIN,
            start_rate=CallRateLimiter(redis_url),
            repeat_rate=CallRateLimiter(redis_url, REPEATS),
            webhook_secrets=WebhookSecrets((WEBHOOK_SECRET,)),
        )


@asynccontextmanager
async def running_server(
    parts: ServerDependencies,
    file: Path | None = None,
    limits: ClientLimits = WIDE,
    *,
    credentials: grpc.ServerCredentials | None = None,
    reflection: bool = False,
    connections: ConnectionGuard | None = None,
    calls: UnknownCallLimits = DEFAULT_LIMITS,
    read: Callable[[Any], Awaitable[Any]] = read_request,
) -> AsyncIterator[ServerFixture]:
    """Run a server with the clients of `file`.

    `connections` closes nothing by itself. `calls`: the limits of unknown callers.
    """
    connections = connections or ConnectionGuard(UnknownLimits())
    clients = ClientsFile(file, limits) if file else None
    callers = Authenticator(clients, CallingClient("default", limits), connections)
    # Those that are the only client, or have a secret of their own, may name webhooks.
    secrets = WebhookSecrets((WEBHOOK_SECRET,), clients)
    service = DownloadService(replace(parts, webhook_secrets=secrets))
    server = grpc.aio.server(
        interceptors=[
            UnknownCallers(connections, calls),
            ErrorInterceptor(callers, service.turns, service.calls, read=read),
        ],
        options=connection_options(),
    )
    pb_grpc.add_DownloadServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    if reflection:
        add_reflection(server, ("autos.downloads.v1.DownloadService",))
    listen = "127.0.0.1:0"
    port = (
        server.add_secure_port(listen, credentials)
        if credentials
        else server.add_insecure_port(listen)
    )
    await server.start()
    service.hub.start()
    try:
        yield ServerFixture(f"127.0.0.1:{port}", server, callers, clients, service)
    finally:
        await service.event_waiter.close()
        await service.hub.close()
        await server.stop(0)


@asynccontextmanager
async def api_of(address: str, token: str | None = None) -> AsyncIterator[Any]:
    """Return a stub that sends this token, on a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        yield _WithToken(pb_grpc.DownloadServiceStub(channel), token)


class _WithToken:
    """A stub that adds a token and a deadline to each call."""

    def __init__(self, stub: Any, token: str | None) -> None:
        self._stub = stub
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def __getattr__(self, method: str) -> Any:
        def call(request: Any, **options: Any) -> Any:
            given = {"timeout": TIMEOUT_S, "metadata": self._metadata, **options}
            return getattr(self._stub, method)(request, **given)

        return call


def entry(name: str, *tokens: str, **more: Any) -> dict[str, Any]:
    """Return a client's entry as it stands in the file."""
    hashes = [{"sha256": hashlib.sha256(token.encode()).hexdigest()} for token in tokens]
    return {"name": name, "tokens": hashes, **more}


def write_clients(file: Path, *entries: dict[str, Any]) -> Path:
    """Replace the whole clients file."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"clients": entries}))
    new.replace(file)
    return file
