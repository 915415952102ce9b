"""The limits of calls whose caller is unknown: open services, and calls that are refused.

Health and reflection have no authentication, so their calls are counted for all unknown callers
together. docs/reference/limits.md has the limits.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from server.access.authentication import OPEN_SERVICES
from server.access.connection_guard import ConnectionGuard, address_of, peer_of
from server.runtime.handler_interceptor import HandlerInterceptor

REFUSAL = "Too many open calls of unknown callers; try again later."
IN_ALL = "in all"


@dataclass(frozen=True)
class UnknownCallLimits:
    """How many calls may be open at once.

    `most`: of unknown callers to open services, in all; `of_address`: of one address.
    `of_connection`: to open services, of a known connection. `unanswered`: of all calls on an
    unknown connection, since the answers that refuse them wait until they are read.
    """

    most: int = 200
    of_address: int = 20
    of_connection: int = 20
    unanswered: int = 100


DEFAULT_LIMITS = UnknownCallLimits()


class UnknownCallers(HandlerInterceptor):
    """Counts the calls of unknown callers. It must stand before the interceptor that reads."""

    def __init__(
        self, connections: ConnectionGuard, limits: UnknownCallLimits = DEFAULT_LIMITS
    ) -> None:
        """Make the interceptor. `connections` records which are known, and closes one."""
        self._connections = connections
        self._limits = limits
        # Open calls by connection, by address and in all.
        self._calls: Counter[str] = Counter()
        # Limited handlers by method name. Each is made at the first call of its method.
        self._limited: dict[str, Any] = {}

    def replaced(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler, which counts its calls."""
        method = details.method
        if method not in self._limited:
            self._limited[method] = self._limit(handler, method.startswith(OPEN_SERVICES))
        return self._limited[method]

    def _limit(self, handler: Any, is_open: bool) -> Any:
        kind = "stream_stream" if handler.response_streaming else "stream_unary"
        inner = getattr(handler, kind)

        async def limited(requests: Any, context: Any) -> Any:
            with self._room(peer_of(context), is_open) as has_room:
                if not has_room:
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSAL)
                return await inner(requests, context)

        async def limited_messages(requests: Any, context: Any) -> AsyncIterator[Any]:
            with self._room(peer_of(context), is_open) as has_room:
                if not has_room:
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSAL)
                async with aclosing(inner(requests, context)) as messages:
                    async for message in messages:
                        yield message

        is_generator = inspect.isasyncgenfunction(inner)
        return handler._replace(**{kind: limited_messages if is_generator else limited})

    @contextmanager
    def _room(self, peer: str, is_open: bool) -> Iterator[bool]:
        """Count a call while the context is open. Yield False if there is no room for it."""
        is_known = self._connections.is_known(peer)
        if is_known and not is_open:
            yield True
            return
        with self._counted(peer):
            if not is_known and self._calls[peer] > self._limits.unanswered:
                # The caller does not read the answers.
                self._connections.drop(peer)
                yield False
            elif not is_open:
                yield True
            elif is_known:
                yield self._calls[peer] <= self._limits.of_connection
            elif self._is_full(address := address_of(peer)):
                # Not counted below: refusals of one caller must not refuse others.
                yield False
            else:
                with self._counted(address), self._counted(IN_ALL):
                    yield True

    def _is_full(self, address: str) -> bool:
        return (
            self._calls[IN_ALL] >= self._limits.most
            or self._calls[address] >= self._limits.of_address
        )

    @contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        self._calls[key] += 1
        try:
            yield
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]
