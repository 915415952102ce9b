"""Maps every error that leaves a method, and binds the log context of a call."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from server.errors import MalformedRequest, status_of

M = TypeVar("M", bound=Callable[..., Any])
Parse = Callable[[bytes], Any]


def writes_bytes(method: M) -> M:
    """Marks a method that writes messages already serialised to its context."""
    method.writes_bytes = True  # type: ignore[attr-defined]
    return method


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """No exception text reaches a caller: errors go through the table in server/errors.py.

    Requests are parsed in here too, because gRPC would tell the caller how its parser failed.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, guarded."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method, parse = handler_call_details.method, handler.request_deserializer
        if handler.unary_unary:
            guarded = _guard_unary(handler.unary_unary, method, parse)
            return handler._replace(unary_unary=guarded, request_deserializer=None)
        inner = handler.unary_stream
        if inner:
            # Health's own Watch is no generator: it writes to the context.
            is_generator = inspect.isasyncgenfunction(handler.unary_stream)
            guard = _guard_stream if is_generator else _guard_unary
            guarded = guard(handler.unary_stream, method, parse)
            handler = handler._replace(unary_stream=guarded, request_deserializer=None)
            if getattr(inner, "writes_bytes", False):
                handler = handler._replace(response_serializer=None)
            return handler
        return handler


def _guard_unary(inner: Any, method: str, parse: Parse) -> Any:
    async def guarded(raw: bytes, context: Any) -> Any:
        with structlog.contextvars.bound_contextvars(rpc=method):
            try:
                return await inner(_parsed(parse, raw), context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: everything is mapped here
                await context.abort_with_status(status_of(error))

    return guarded


def _guard_stream(inner: Any, method: str, parse: Parse) -> Any:
    async def guarded(raw: bytes, context: Any) -> AsyncIterator[Any]:
        with structlog.contextvars.bound_contextvars(rpc=method):
            try:
                async with aclosing(inner(_parsed(parse, raw), context)) as messages:
                    async for message in messages:
                        yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: everything is mapped here
                await context.abort_with_status(status_of(error))

    return guarded


def _parsed(parse: Parse, raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError as error:
        raise MalformedRequest from error
