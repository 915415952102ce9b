"""What a connection may do: gRPC's own limits, each seen to work with the aio server.

docs/CLIENTS.md tells callers what they meet at each.
"""

from __future__ import annotations

import resource

KIB, MINUTE_MS = 1024, 60_000
MOST_CONNECTIONS = 5_000
# Descriptors for PostgreSQL, Valkey, S3 and the log, which a crowd at the door must not take.
SPARE_DESCRIPTORS = 200


def connection_options() -> tuple[tuple[str, int], ...]:
    """Channel arguments of the server."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        # The largest request has a URL of 2,048 characters.
        ("grpc.max_receive_message_length", 1024 * KIB),
        ("grpc.max_metadata_size", 8 * KIB),
        ("grpc.absolute_max_metadata_size", 16 * KIB),
        # The next one of a connection waits in the client; watches are limited by client.
        ("grpc.max_concurrent_streams", 10_000),
        (
            "grpc.max_allowed_incoming_connections",
            min(MOST_CONNECTIONS, max(100, descriptors - SPARE_DESCRIPTORS)),
        ),
        # Who connects and says nothing holds a place for this long.
        ("grpc.server_handshake_timeout_ms", 10_000),
        # A caller whose host is gone without a word is noticed within 80 s.
        ("grpc.keepalive_time_ms", MINUTE_MS),
        # Not grpc.keepalive_timeout_ms: a peer that is frozen outlives that.
        ("grpc.http2.ping_timeout_ms", 20_000),
        # Callers may do the same: a quiet watch through a balancer needs it.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_idle_ms", 15 * MINUTE_MS),
        # So that callers spread over new servers, and certificates taken back end.
        ("grpc.max_connection_age_ms", 120 * MINUTE_MS),
        ("grpc.max_connection_age_grace_ms", 10 * MINUTE_MS),
    )
