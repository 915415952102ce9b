"""The places of connections on which no call was authenticated: few, by address, and short.

A connection is known after the first call on it that was authenticated. gRPC's own limit counts all
connections; the places above MOST_UNKNOWN are a reserve of known ones. docs/reference/limits.md.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, Protocol
from urllib.parse import unquote

import structlog

from server.access import accepted_sockets
from server.access.accepted_sockets import Accepted

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A look at all connections takes a thread a tenth of the time at most; half of the time as long as
# each look finds connections to close.
LOOK_S, LOOK_SHARE, LOOK_SHARE_BUSY = 0.25, 10, 2
# Lines about closed connections are at least this many seconds apart.
LOG_EVERY_S = 10.0
# gRPC's own limits, each tested with the asyncio server.
KIB, MINUTE_MS = 1024, 60_000
MOST_CONNECTIONS = 5_000
# File descriptors kept for PostgreSQL, Valkey, S3 and the log; callers' connections get the rest.
SPARE_DESCRIPTORS = 200


@dataclass(frozen=True)
class UnknownLimits:
    """The limits of unknown connections of one process.

    `grace_s`: as long as all of them are within `most`, one address may have more than
    `most_of_address` for this long, as when a host with many callers starts.
    """

    most: int = 500
    most_of_address: int = 50
    age_s: float = 30.0
    grace_s: float = 3.0


class Sockets(Protocol):
    """Lists the open connections."""

    def look(self) -> list[Accepted]: ...


def surplus(
    unknown: Collection[tuple[Accepted, float]], limits: UnknownLimits
) -> dict[str, list[Accepted]]:
    """Return the connections to close, by reason. `unknown`: connections and their ages in seconds.

    The oldest go first: a caller that can authenticate does so at once, so it is among the newest.
    """
    aged = sorted(unknown, key=lambda each: each[1])
    over = [each for each, age in aged if age > limits.age_s]
    rest = [(each, age) for each, age in aged if age <= limits.age_s]
    is_full = len(rest) > limits.most
    of_address: dict[str, int] = defaultdict(int)
    many: list[Accepted] = []
    kept: list[Accepted] = []
    for each, age in rest:
        of_address[address := address_of(each.peer)] += 1
        is_many = of_address[address] > limits.most_of_address
        (many if is_many and (is_full or age > limits.grace_s) else kept).append(each)
    return {"age": over, "address": many, "total": kept[limits.most :]}


def address_of(peer: str) -> str:
    """Return the address of a peer; of IPv6 its /64, which one caller has as a whole."""
    host = peer.rpartition(":")[0].strip("[]")
    address = ip_address(host)
    if isinstance(address, IPv4Address):
        return host
    return str(IPv6Network((address, 64), strict=False))


def peer_of(context: Any) -> str:
    """Return address and port of the caller of a call."""
    _, _, peer = context.peer().partition(":")
    if "%" not in peer:
        return str(peer)
    host, _, port = unquote(peer).rpartition(":")
    return accepted_sockets.peer_name(host.strip("[]"), int(port))


class ConnectionGuard:
    """Records which connections are known and closes unknown ones. For one event loop."""

    def __init__(
        self, limits: UnknownLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make a guard. `clock`: seconds."""
        self._limits = limits
        self._clock = clock
        self._known: set[str] = set()
        # By inode: when an unknown connection was first seen.
        self._since: dict[int, float] = {}
        self._open: dict[str, Accepted] = {}
        self._log_at = -LOG_EVERY_S

    def authenticated(self, context: Any) -> None:
        """Record that a call was authenticated: its connection is known until it ends."""
        self._known.add(peer_of(context))

    def is_known(self, peer: str) -> bool:
        """Return whether a call on this connection was authenticated."""
        return peer in self._known

    async def keep(self, sockets: Sockets) -> None:
        """Look at the connections again and again, for ever."""
        while True:
            begun = self._clock()
            share = LOOK_SHARE_BUSY if await self.look(sockets) else LOOK_SHARE
            await asyncio.sleep(max(LOOK_S, (share - 1) * (self._clock() - begun)))

    async def look(self, sockets: Sockets) -> int:
        """Close the unknown connections that are too many or too old. Return their number."""
        known = set(self._known)
        found = await asyncio.to_thread(sockets.look)
        self._forget_ended(found, known)
        now = self._clock()
        unknown = [each for each in found if each.peer not in self._known]
        self._since = {each.inode: self._since.get(each.inode, now) for each in unknown}
        aged = [(each, now - self._since[each.inode]) for each in unknown]
        closing = surplus(aged, self._limits)
        self._log(closing, now)
        ended = [each for many in closing.values() for each in many]
        if ended:
            await asyncio.to_thread(self._close_all, ended)
        return len(ended)

    def drop(self, peer: str) -> None:
        """Close a connection at once, if a look has seen it."""
        if connection := self._open.pop(peer, None):
            accepted_sockets.close(connection)

    def _forget_ended(self, found: Iterable[Accepted], known: set[str]) -> None:
        """Remove what was `known` before the look and has ended, or has another socket now."""
        now_open = {each.peer: each for each in found}
        for peer in known:
            before, current = self._open.get(peer), now_open.get(peer)
            if current is None or (before is not None and before.inode != current.inode):
                self._known.discard(peer)
        self._open = now_open

    def _close_all(self, connections: Iterable[Accepted]) -> None:
        for each in connections:
            if each.peer not in self._known:
                accepted_sockets.close(each)

    def _log(self, closing: dict[str, list[Accepted]], now: float) -> None:
        if not (closing["address"] or closing["total"]) or now < self._log_at + LOG_EVERY_S:
            return
        self._log_at = now
        counts = {f"beyond_{reason}": len(each) for reason, each in closing.items()}
        some = (closing["address"] or closing["total"])[0]
        log.warning("unknown connections closed", address=address_of(some.peer), **counts)


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
