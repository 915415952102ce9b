"""Names the job that a call asks for in every log line of the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import grpc
import structlog


class JobLogContextInterceptor(grpc.aio.ServerInterceptor):
    """To be the last of the interceptors: it needs requests that have been parsed.

    Unary calls only; a stream would pay for each message, and names its job itself.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, its job named."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler
        return handler._replace(unary_unary=_named(handler.unary_unary))


def _named(inner: Any) -> Any:
    async def named(request: Any, context: Any) -> Any:
        job_id = getattr(request, "job_id", "")
        if _is_uuid(job_id):
            # A call has a task of its own, so this ends with it; an error is logged after us.
            structlog.contextvars.bind_contextvars(job_id=job_id)
        return await inner(request, context)

    return named


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
