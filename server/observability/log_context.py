"""Log context: every log line of a call carries the job_id of its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import grpc
import structlog


class JobLogContextInterceptor(grpc.aio.ServerInterceptor):
    """Binds `job_id` for unary calls. It must be the last interceptor: it needs parsed requests.

    It leaves streams alone: it would cost time for each message, and a stream binds its job itself.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, which binds the job_id of its request."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
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
