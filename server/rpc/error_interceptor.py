"""Names the caller of every call, maps every error that leaves it, and binds its log context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from server.access.authentication import Authenticator
from server.access.client_registry import CallingClient, current_client, set_current_client
from server.errors.error_statuses import MalformedRequest, status_of
from server.runtime.stream_scheduler import StreamScheduler

M = TypeVar("M", bound=Callable[..., Any])
Parse = Callable[[bytes], Any]
Read = Callable[[Any], Awaitable[Any]]


def writes_bytes(method: M) -> M:
    """Marks a method that writes messages to its context, serialised already."""
    method.writes_bytes = True  # type: ignore[attr-defined]
    return method


class _Writing:
    """The context of a method that writes for as long as its caller is known by the same token."""

    def __init__(self, context: Any, callers: Authenticator, method: str) -> None:
        self._context = context
        self._callers = callers
        self._method = method
        self._roster = callers.roster
        self._client = current_client()

    def write(self, message: bytes) -> Awaitable[None]:
        """Sends a message; done when it is out. Raises Unauthenticated."""
        if self._callers.roster is not self._roster:
            # What a token has opened ends when the token is taken out.
            self._roster = self._callers.roster
            self._callers.reauthenticate(self._client, self._method, self._context)
        sent: Awaitable[None] = self._context.write(message)
        return sent


async def _read(context: Any) -> Any:
    return await context.read()


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """No exception text reaches a caller: errors go through the table in error_statuses.py.

    Nothing is done for a caller who is not known, and nothing more is read of it. Requests are read
    and parsed in here too: gRPC would keep a call that ends without a whole request open for as
    long as its connection, and tell the caller how its parser failed.
    """

    def __init__(self, callers: Authenticator, turns: StreamScheduler) -> None:
        """`turns`: among streams; calls that are answered at once wait for none."""
        self._callers = callers
        self._turns = turns
        # By method, of which there are only so many: made at its first call.
        self._guarded: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, guarded."""
        self._turns.call_came()
        method = handler_call_details.method
        if method not in self._guarded:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._guarded[method] = self._guard(handler, method)
        return self._guarded[method]

    def _guard(self, handler: Any, method: str) -> Any:
        parse = handler.request_deserializer
        if handler.unary_unary:
            guarded = self._guard_unary(handler.unary_unary, method, parse)
            return _reading(handler, stream_unary=guarded)
        if handler.unary_stream:
            # Health's own Watch is no generator: it writes to the context.
            if getattr(handler.unary_stream, "writes_bytes", False):
                guarded = self._guard_writer(handler.unary_stream, method, parse)
                handler = handler._replace(response_serializer=None)
            else:
                guarded = self._guard_unary(handler.unary_stream, method, parse)
            return _reading(handler, stream_stream=guarded)
        if handler.stream_stream:
            # Reflection, which is open to all: what it streams in is parsed by gRPC.
            guarded = self._guard_stream(handler.stream_stream, method)
            return handler._replace(stream_stream=guarded)
        # There is none, and an unknown kind would not ask who calls.
        return None

    def _guard_unary(self, inner: Any, method: str, parse: Parse, read: Read = _read) -> Any:
        async def guarded(_: Any, context: Any) -> Any:
            try:
                self._begin(method, context)
                return await inner(_parsed(parse, await read(context)), context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: everything is mapped here
                await context.abort_with_status(status_of(error))

        return guarded

    def _guard_writer(self, inner: Any, method: str, parse: Parse) -> Any:
        async def writer(request: Any, context: Any) -> None:
            await inner(request, _Writing(context, self._callers, method))

        return self._guard_unary(writer, method, parse, self._read_in_turn)

    async def _read_in_turn(self, context: Any) -> Any:
        """Read the request of a stream when it is the stream's turn to open."""
        try:
            await self._turns.begin(context, is_opening=True)
            return await context.read()
        finally:
            self._turns.end(context)

    def _guard_stream(self, inner: Any, method: str) -> Any:
        async def guarded(requests: Any, context: Any) -> AsyncIterator[Any]:
            try:
                self._begin(method, context)
                async with aclosing(inner(requests, context)) as messages:
                    async for message in messages:
                        yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: everything is mapped here
                await context.abort_with_status(status_of(error))

        return guarded

    def _begin(self, method: str, context: Any) -> CallingClient:
        """Finds out who calls. Raises Unauthenticated.

        A call has a task of its own, so what is bound here ends with it.
        """
        structlog.contextvars.bind_contextvars(rpc=method)
        client = self._callers.identify(method, context)
        structlog.contextvars.bind_contextvars(client=client.name)
        set_current_client(client)
        return client


def _reading(handler: Any, **methods: Any) -> Any:
    """A handler whose methods read their one request themselves, from the context."""
    return handler._replace(
        request_streaming=True,
        request_deserializer=None,
        unary_unary=None,
        unary_stream=None,
        **methods,
    )


def _parsed(parse: Parse, raw: Any) -> Any:
    if raw is grpc.aio.EOF:
        raise MalformedRequest
    try:
        return parse(raw)
    except DecodeError as error:
        raise MalformedRequest from error
