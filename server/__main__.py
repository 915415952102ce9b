"""`python -m server`: the gRPC server process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from actors.hints.hint_channel import HintSender, make_client
from actors.messaging.enqueuer import Enqueuer, make_broker
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.access.accepted_sockets import AcceptedSockets
from server.access.authentication import Authenticator
from server.access.connection_guard import ConnectionGuard, connection_options, unknown_limits
from server.access.server_tls import TlsFiles
from server.access.unknown_callers import UnknownCallers
from server.dependencies import POOL_THREADS, ServerDependencies
from server.observability import row_metrics
from server.observability.rpc_metrics import RpcMetrics
from server.observability.rpc_traces import JobLogContextInterceptor, RpcTraces
from server.part_health import TROUBLE_LOOK_S, TROUBLES, watch_troubles
from server.queue.queue_view import QueueView
from server.rpc.error_interceptor import ErrorInterceptor
from server.rpc.reflection import add_channelz, add_reflection
from server.rpc.service import DownloadService
from server.runtime.event_loop import Background, EventLoop, log_unseen_errors
from storage import logs
from storage.clients.client_registry import DEFAULT_NAME, CallingClient, ClientLimits
from storage.clients.webhook_secrets import WebhookSecrets
from storage.environment import core_dumps
from storage.errors import ConfigurationError
from storage.health import start_check
from storage.health.holds import Holds
from storage.health.release_wait import await_release
from storage.jobs.call_rate_limiter import REPEATS, STARTS, CallRateLimiter
from storage.jobs.change_notifications import ChangePublisher
from storage.listings.size_limits import SizeLimits
from storage.login.login_values import Login
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.portal.case_budget import CaseBudget
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.scheduling.published_positions import PlaceReader
from storage.settings import Settings
from storage.telemetry.series import NOOP_RECORDER
from storage.telemetry.signals import NOOP_SIGNALS, Signals
from storage.webhook_policy import WebhookPolicy

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["DownloadService"]
SERVICE = _DESCRIPTOR.full_name
GRACE_S = 5.0
# Seconds after GRACE_S until the process exits even if a thread still waits for a database.
LINGER_S = 3.0
OPTIONS = (
    # With gRPC's default, a burst of thousands of new streams would be cancelled.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    *connection_options(),
)


def parts_of(
    settings: Settings,
    signals: Signals = NOOP_SIGNALS,
    secrets: WebhookSecrets | None = None,
) -> ServerDependencies:
    """Build the dependencies of the server. This is its composition root.

    `secrets`: None without clients.
    """
    wakeups = ChangePublisher(settings.redis_url)
    store = ObjectStore.of(settings)
    database = Database(
        settings.database_url,
        max_connections=POOL_THREADS,
        on_change=wakeups.announce,
        on_count=signals.recorder.counted,
    )
    login = Login.of(settings)
    budget = CaseBudget.of(settings)
    client = make_client(settings.redis_url)
    hints = HintSender(client)
    return ServerDependencies(
        database=database,
        objects=Objects(store, max_connections=POOL_THREADS),
        messages=Enqueuer(make_broker(settings.redis_url, timeout_s=1)),
        hints=hints,
        receivers=WebhookPolicy.from_entries(
            settings.webhook_allowed_hosts, allows_plaintext=bool(settings.webhook_plaintext)
        ),
        pool=ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="rpc"),
        redis_url=settings.redis_url,
        listing_max_age_s=settings.listing_max_age_s,
        job_deadline_s=settings.job_deadline_s,
        queue=QueueView(PlaceReader(client), hints, Holds(database, login, budget)),
        login=login,
        tracer=signals.tracer,
        budget=budget,
        start_rate=CallRateLimiter(settings.redis_url, STARTS),
        repeat_rate=CallRateLimiter(settings.redis_url, REPEATS),
        size_limits=SizeLimits.of(settings),
        webhook_secrets=secrets or WebhookSecrets(settings.webhook_secrets),
    )


def watching(signals: Signals) -> list[grpc.aio.ServerInterceptor]:
    """Return the interceptors for metrics and traces; none of those that are disabled."""
    interceptors: list[grpc.aio.ServerInterceptor] = []
    if signals.recorder is not NOOP_RECORDER:
        methods = [f"{SERVICE}/{each.name}" for each in _DESCRIPTOR.methods]
        interceptors.append(RpcMetrics(signals.recorder, methods))
    if signals.tracer.is_on:
        interceptors.append(RpcTraces(signals.tracer, SERVICE))
    return interceptors


async def serve(settings: Settings, signals: Signals = NOOP_SIGNALS) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls finish."""
    log_unseen_errors(asyncio.get_running_loop())
    limits = ClientLimits.of(settings)
    secrets = WebhookSecrets.of(settings, limits)
    connections = ConnectionGuard(unknown_limits())
    callers = Authenticator(secrets.file, CallingClient(DEFAULT_NAME, limits), connections)
    parts = parts_of(settings, signals, secrets)
    service = DownloadService(parts)
    guard = ErrorInterceptor(callers, service.turns, service.calls)
    server = grpc.aio.server(
        interceptors=[
            *watching(signals),
            UnknownCallers(connections),
            guard,
            JobLogContextInterceptor(),
        ],
        options=_options(settings),
    )
    pb_grpc.add_DownloadServiceServicer_to_server(service, server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    services = [SERVICE, health.SERVICE_NAME]
    if settings.is_channelz_on:
        services.append(add_channelz(server))
    if settings.grpc_reflection:
        add_reflection(server, services)
    sockets = AcceptedSockets(open_port(server, settings))
    await server.start()
    service.hub.start()
    await _set_health(healthy, health_pb2.HealthCheckResponse.SERVING)
    background = Background()
    for name, read in TROUBLES.items():
        troubles = partial(service.run, read, parts)
        background.start(name, partial(watch_troubles, healthy, name, troubles))
    background.start("clients file", callers.keep_current)
    background.start("connections", partial(connections.keep, sockets))
    background.start("sessions", partial(check_sessions, parts.database))
    log.info("serving", address=settings.grpc_listen)
    await _stop_signal()
    log.info("stopping")
    await background.stop()
    await _set_health(healthy, health_pb2.HealthCheckResponse.NOT_SERVING)
    await service.event_waiter.close()
    await service.hub.close()
    await server.stop(GRACE_S)
    await service.settled()


def _options(settings: Settings) -> tuple[tuple[str, int], ...]:
    return (
        *OPTIONS,
        # gRPC's own default is on: two servers on one port would share it silently.
        ("grpc.so_reuseport", int(settings.grpc_reuse_port)),
        ("grpc.enable_channelz", int(settings.is_channelz_on)),
    )


def open_port(server: grpc.aio.Server, settings: Settings) -> int:
    """Make the server listen, with TLS if a certificate is set. Return the number of the port.

    Raises ConfigurationError.
    """
    cert, key = settings.grpc_tls_cert_file, settings.grpc_tls_key_file
    files = TlsFiles(cert, key, settings.grpc_tls_client_ca_file) if cert and key else None
    try:
        if files:
            return server.add_secure_port(settings.grpc_listen, files.credentials())
        return server.add_insecure_port(settings.grpc_listen)
    except RuntimeError as error:
        raise ConfigurationError(
            f"GRPC_LISTEN: {settings.grpc_listen} cannot be listened on; "
            "stop what uses it or set GRPC_LISTEN to another address. Servers share one "
            "if each of them has GRPC_REUSE_PORT=on."
        ) from error


async def check_sessions(database: Database) -> None:
    """Log the settings that PostgreSQL's sessions lack, as soon as PostgreSQL answers."""
    while not await asyncio.to_thread(session_settings.log_missing, database):
        await asyncio.sleep(TROUBLE_LOOK_S)


async def _set_health(servicer: health.aio.HealthServicer, status: int) -> None:
    for name in ("", SERVICE):
        await servicer.set(name, status)


async def _stop_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _spare_garbage_collection() -> None:
    """Make full garbage collections rare: each one stops every call while it scans all streams."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _leave_soon() -> None:
    """End the process after LINGER_S seconds, although Python would wait for a blocked thread."""
    last = threading.Timer(LINGER_S, os._exit, (1,))
    last.daemon = True
    last.start()


def main() -> int:
    """Run the server. Return the exit code: 0 after an orderly stop, 1 if it cannot start.

    If it cannot start, it writes one sentence to stderr.
    """
    core_dumps.switch_off()
    try:
        settings = Settings.from_env(os.environ, "server")
        logs.configure(settings.log_format, process="server")
        start_check.check(settings, "server")
        if not await_release(settings.database_url):
            return 0
        _spare_garbage_collection()
        with (
            row_metrics.served(settings) as signals,
            asyncio.Runner(loop_factory=EventLoop) as runner,
        ):
            runner.run(serve(settings, signals))
            _leave_soon()
    except ConfigurationError as error:
        print(f"autos server: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
