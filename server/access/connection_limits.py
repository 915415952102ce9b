"""The limits of a connection: gRPC's own options, each tested with the asyncio server.

docs/reference/limits.md describes the effect of each limit on a caller.
"""

from __future__ import annotations

import resource
from dataclasses import replace

from server.access.connection_guard import UnknownLimits

KIB, MINUTE_MS = 1024, 60_000
MOST_CONNECTIONS = 5_000
# File descriptors kept for PostgreSQL, Valkey, S3 and the log; callers' connections get the rest.
SPARE_DESCRIPTORS = 200


def most_connections() -> int:
    """Return how many connections the process accepts."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, max(100, descriptors - SPARE_DESCRIPTORS))


def unknown_limits() -> UnknownLimits:
    """Return the limits of unknown connections. They get a quarter of the places at most."""
    limits = UnknownLimits()
    return replace(limits, most=min(limits.most, most_connections() // 4))


def connection_options() -> tuple[tuple[str, int], ...]:
    """Return the channel arguments of the server."""
    return (
        # The largest request is small: its longest field is a URL of 2,048 characters.
        ("grpc.max_receive_message_length", 1024 * KIB),
        ("grpc.max_metadata_size", 8 * KIB),
        ("grpc.absolute_max_metadata_size", 16 * KIB),
        # A further call on the connection waits in the client. Watches have a limit per client.
        ("grpc.max_concurrent_streams", 10_000),
        # ConnectionGuard closes unknown connections, so most of the places are left for known ones.
        ("grpc.max_allowed_incoming_connections", most_connections()),
        # A peer that connects and sends nothing keeps its connection for this long.
        ("grpc.server_handshake_timeout_ms", 10_000),
        # If a caller's host disappears without closing the connection, the server detects it within
        # 80 s.
        ("grpc.keepalive_time_ms", MINUTE_MS),
        # grpc.keepalive_timeout_ms has no effect on a frozen peer; this option has.
        ("grpc.http2.ping_timeout_ms", 20_000),
        # Callers may send pings too: an idle watch through a load balancer needs them.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_idle_ms", 15 * MINUTE_MS),
        # Connections end, so callers spread over new servers and a revoked certificate is refused.
        ("grpc.max_connection_age_ms", 120 * MINUTE_MS),
        ("grpc.max_connection_age_grace_ms", 10 * MINUTE_MS),
    )
