"""The base of the interceptors that replace the handlers of known methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc


class HandlerInterceptor(grpc.aio.ServerInterceptor):
    """Replaces handlers by those of `replaced`."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler of a call, None if the method is unknown."""
        handler = await continuation(handler_call_details)
        return handler and self.replaced(handler, handler_call_details)

    def replaced(self, handler: Any, details: grpc.HandlerCallDetails) -> Any:
        """Return what handles the call instead of `handler`."""
        raise NotImplementedError
