"""The interceptor of every call: it authenticates the caller, maps errors and binds log context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from server.access.authentication import (
    OPEN_SERVICES,
    Authenticator,
    current_client,
    set_current_client,
)
from server.access.open_calls import OpenCalls
from server.errors import LateRequest, MalformedRequest, status_of
from server.rpc.requests import require_short
from server.runtime.stream_scheduler import StreamScheduler
from storage.clients.client_registry import CallingClient

M = TypeVar("M", bound=Callable[..., Any])
Parse = Callable[[bytes], Any]
Read = Callable[[Any], Awaitable[Any]]
Room = Callable[[CallingClient], AbstractContextManager[None]]
# Seconds within which the only message of a call must arrive whole.
READ_S = 10.0


async def read_request(context: Any, *, limit_s: float = READ_S) -> Any:
    """Return the bytes of the request, or EOF. Raises LateRequest."""
    try:
        async with asyncio.timeout(limit_s):
            return await context.read()
    except TimeoutError as error:
        raise LateRequest(limit_s) from error


def writes_bytes(method: M) -> M:
    """Mark a method that writes serialized messages to its context."""
    method.writes_bytes = True  # type: ignore[attr-defined]
    return method


class _Writing:
    """The context of a stream. It authenticates the caller again after the known clients change."""

    def __init__(self, context: Any, callers: Authenticator, method: str) -> None:
        self._context = context
        self._callers = callers
        self._method = method
        self._registry = callers.registry
        self._client = current_client()

    def write(self, message: bytes) -> Awaitable[None]:
        """Send a message and return when it is written. Raises Unauthenticated."""
        if self._callers.registry is not self._registry:
            # If the token was removed, its open streams end too.
            self._registry = self._callers.registry
            self._callers.reauthenticate(self._client, self._method, self._context)
        sent: Awaitable[None] = self._context.write(message)
        return sent


def counts_as_watch(method: M) -> M:
    """Mark a unary method whose calls have the limit of watches instead of the limit of calls."""
    method.counts_as_watch = True  # type: ignore[attr-defined]
    return method


def _no_limit(_: CallingClient) -> AbstractContextManager[None]:
    return nullcontext()


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates callers and maps errors by the table in server/errors.py.

    No exception text reaches a caller. If the caller is unknown, its request is not read. This
    interceptor also reads and parses requests: gRPC would keep a call without a whole request open
    as long as its connection lives, and would send the parser's error text to the caller.
    """

    def __init__(
        self,
        callers: Authenticator,
        turns: StreamScheduler,
        calls: OpenCalls,
        *,
        read: Read = read_request,
    ) -> None:
        """Make the interceptor.

        `turns`: the turns of streams; unary calls do not wait for one. `calls` counts them.
        """
        self._callers = callers
        self._turns = turns
        self._calls = calls
        self._read = read
        # Guarded handlers by method name. Each is made at the first call of its method.
        self._guarded: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the guarded handler of a call, or None if the method is unknown."""
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
            guarded = self._guard_answer(handler, method)
            return _reading(handler, stream_unary=guarded, response_serializer=None)
        if handler.unary_stream:
            # DownloadService's WatchProgress writes bytes, and limits its streams itself. Its other
            # streams and health's Watch write messages.
            if getattr(handler.unary_stream, "writes_bytes", False):
                guarded = self._guard_writer(handler.unary_stream, method, parse)
                handler = handler._replace(response_serializer=None)
            else:
                is_open = method.startswith(OPEN_SERVICES)
                room = _no_limit if is_open else self._calls.acquire_call
                guarded = self._guard_unary(handler.unary_stream, method, parse, room=room)
            return _reading(handler, stream_stream=guarded)
        if handler.stream_stream:
            # Reflection needs no authentication. gRPC parses the messages of its stream.
            guarded = self._guard_stream(handler.stream_stream, method)
            return handler._replace(stream_stream=guarded)
        # No method has this kind. Its calls would not be authenticated, so it is not served.
        return None

    def _guard_unary(
        self,
        inner: Any,
        method: str,
        parse: Parse,
        read: Read | None = None,
        room: Room = _no_limit,
    ) -> Any:
        read = read or self._read

        async def guarded(_: Any, context: Any) -> Any:
            try:
                with room(self._begin(method, context)):
                    return await inner(_parsed(parse, await read(context)), context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: everything is mapped here
                await context.abort_with_status(status_of(error))

        return guarded

    def _guard_answer(self, handler: Any, method: str) -> Any:
        inner, serialize = handler.unary_unary, handler.response_serializer
        room: Room = self._calls.acquire_call
        if method.startswith(OPEN_SERVICES):
            room = _no_limit
        elif getattr(inner, "counts_as_watch", False):
            room = self._calls.acquire_answer

        async def answer(request: Any, context: Any) -> bytes:
            # While the caller reads, only the bytes are kept.
            answered: bytes = serialize(await inner(request, context))
            self._calls.answer(current_client())
            return answered

        return self._guard_unary(answer, method, handler.request_deserializer, room=room)

    def _guard_writer(self, inner: Any, method: str, parse: Parse) -> Any:
        async def writer(request: Any, context: Any) -> None:
            await inner(request, _Writing(context, self._callers, method))

        return self._guard_unary(writer, method, parse, self._read_in_turn)

    async def _read_in_turn(self, context: Any) -> Any:
        """Read the request of a stream when the stream has its turn to open."""
        try:
            await self._turns.begin(context, is_opening=True)
            return await self._read(context)
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
        """Authenticate the caller and bind the log context. Raises Unauthenticated.

        A call has its own task, so the bindings end with the call.
        """
        structlog.contextvars.bind_contextvars(rpc=method)
        client = self._callers.identify(method, context)
        structlog.contextvars.bind_contextvars(client=client.name)
        set_current_client(client)
        return client


def _reading(handler: Any, **methods: Any) -> Any:
    """Return a handler with methods that read their single request from the context."""
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
        request = parse(raw)
    except DecodeError as error:
        raise MalformedRequest from error
    require_short(request)
    return request
