"""What identifies a call: its span, and the job_id in its log lines.

If the call carries a W3C trace context, its span is a child of that span.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import grpc
import structlog

from server.observability.rpc_metrics import cancelled_code_of, code_of
from server.runtime.handler_interceptor import HandlerInterceptor
from storage.telemetry.tracing import Span, Tracer

# The metadata key of the caller's trace context.
TRACEPARENT = "traceparent"
# The codes that mark a server's span as failed, by OpenTelemetry's conventions. The caller causes
# the others.
OUR_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


class RpcTraces(HandlerInterceptor):
    """Traces the unary calls of `service`, not its streams and not health checks.

    It must precede the interceptor that maps errors, so that it sees their codes.
    """

    def __init__(self, tracer: Tracer, service: str) -> None:
        self._tracer = tracer
        self._prefix = f"/{service}/"

    def replaced(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler, which traces its calls."""
        method = details.method
        if handler.response_streaming or not method.startswith(self._prefix):
            return handler
        given = dict(details.invocation_metadata or ()).get(TRACEPARENT)
        traceparent = given if isinstance(given, str) else None
        # ErrorInterceptor reads requests itself: gRPC then handles a request as a stream of one.
        kind = "stream_unary" if handler.request_streaming else "unary_unary"
        traced = self._traced(getattr(handler, kind), method, traceparent)
        return handler._replace(**{kind: traced})

    def _traced(self, inner: Any, method: str, traceparent: str | None) -> Any:
        name = method.removeprefix("/")
        service, _, short = name.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": short}

        async def traced(request: Any, context: Any) -> Any:
            with self._tracer.span(
                name, "server", traceparent=traceparent, attributes=attributes
            ) as span:
                answer, refusal = await _traced_answer(inner, request, context, span)
            if refusal is not None:
                raise refusal
            return answer

        return traced


async def _traced_answer(
    inner: Any, request: Any, context: Any, span: Span
) -> tuple[Any, grpc.aio.AbortError | None]:
    """Return the answer, or the error of a refused call. A refusal alone does not fail the span."""
    code, answer, refusal = grpc.StatusCode.UNKNOWN.name, None, None
    with structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
        try:
            answer = await inner(request, context)
            code = code_of(context)
        except grpc.aio.AbortError as error:
            refusal, code = error, code_of(context)
            if code in OUR_FAULTS:
                span.fail(code)
        except asyncio.CancelledError:
            code = cancelled_code_of(context)
            raise
        finally:
            span.set("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
    return answer, refusal


class JobLogContextInterceptor(HandlerInterceptor):
    """Binds `job_id` for unary calls. It must be the last interceptor: it needs parsed requests.

    It leaves streams alone: it would cost time for each message, and a stream binds its job itself.
    """

    def replaced(self, handler: Any, _details: grpc.HandlerCallDetails) -> Any:
        """Return the handler, which binds the job_id of its request."""
        if not handler.unary_unary:
            return handler
        return handler._replace(unary_unary=_named(handler.unary_unary))


def _named(inner: Any) -> Any:
    async def named(request: Any, context: Any) -> Any:
        job_id = getattr(request, "job_id", "")
        if _is_uuid(job_id):
            # A call has its own task, so the binding ends with it. Errors are logged before that.
            structlog.contextvars.bind_contextvars(job_id=job_id)
        return await inner(request, context)

    return named


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
