"""The span of a call: below the caller's, if it says where it stands (W3C Trace Context)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from storage.telemetry.tracing import Span, Tracer

# The field of the metadata in which a caller says where it stands.
TRACEPARENT = "traceparent"


class RpcTraces(grpc.aio.ServerInterceptor):
    """Traces the unary calls of `service`: a watch does no work, and health is asked all the time.

    To stand before the interceptor that maps errors, so that it sees their codes.
    """

    def __init__(self, tracer: Tracer, service: str) -> None:
        self._tracer = tracer
        self._prefix = f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, traced."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not handler.unary_unary or not method.startswith(self._prefix):
            return handler
        given = dict(handler_call_details.invocation_metadata or ()).get(TRACEPARENT)
        traceparent = given if isinstance(given, str) else None
        return handler._replace(unary_unary=self._traced(handler.unary_unary, method, traceparent))

    def _traced(self, inner: Any, method: str, traceparent: str | None) -> Any:
        name = method.removeprefix("/")
        service, _, short = name.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": short}

        async def traced(request: Any, context: Any) -> Any:
            with self._tracer.span(
                name, "server", traceparent=traceparent, attributes=attributes
            ) as span:
                return await _told(inner, request, context, span)

        return traced


async def _told(inner: Any, request: Any, context: Any, span: Span) -> Any:
    with structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
        try:
            return await inner(request, context)
        finally:
            code = context.code() or 0
            span.set(
                "rpc.grpc.status_code",
                code.value[0] if isinstance(code, grpc.StatusCode) else code,
            )
