"""Test that a connection whose refusals are not read is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from server.access.connection_guard import ConnectionGuard, UnknownLimits
from server.access.unknown_callers import UnknownCallers, UnknownCallLimits


class Dropped(ConnectionGuard):
    """A guard that records what it would close."""

    def __init__(self) -> None:
        super().__init__(UnknownLimits())
        self.peers: list[str] = []

    def drop(self, peer: str) -> None:
        """Record the peer."""
        self.peers.append(peer)


class Context:
    """The context of a call."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        """Return the peer as gRPC writes it."""
        return f"ipv4:{self._peer}"

    async def abort(self, code: grpc.StatusCode, _: str) -> None:
        """End the call as gRPC does."""
        raise grpc.aio.AbortError(code)


def test_a_connection_whose_refusals_are_not_read_is_closed() -> None:
    guard = Dropped()
    interceptor = UnknownCallers(guard, UnknownCallLimits(unanswered=3))

    async def scenario() -> None:
        # Given a method whose refusals no caller reads
        async def refused(_: Any, context: Any) -> None:
            await asyncio.Event().wait()

        handler: Any = grpc.stream_unary_rpc_method_handler(refused)

        async def found(_: Any) -> Any:
            return handler

        details: Any = type("Details", (), {"method": "/autos.downloads.v1.DownloadService/X"})
        limited = (await interceptor.intercept_service(found, details)).stream_unary
        calls = [asyncio.ensure_future(limited(None, Context("10.0.0.1:1"))) for _ in range(4)]
        other = asyncio.ensure_future(limited(None, Context("10.0.0.2:1")))
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

        assert [type(each.exception()) for each in done] == [grpc.aio.AbortError]
        assert guard.peers == ["10.0.0.1:1"]
        for call in (*calls, other):
            call.cancel()
        await asyncio.gather(*calls, other, return_exceptions=True)

        # When they have ended, the connection has its room again, and a known one needs none.
        guard.authenticated(Context("10.0.0.1:1"))
        many = [asyncio.ensure_future(limited(None, Context("10.0.0.1:1"))) for _ in range(9)]
        await asyncio.sleep(0)
        assert not any(call.done() for call in many)
        for call in many:
            call.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(scenario())
    assert guard.peers == ["10.0.0.1:1"]
