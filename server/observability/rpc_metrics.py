"""RPC metrics of every method: calls started, handled by code, open, and seconds to an answer."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc

from storage.telemetry import series
from storage.telemetry.series import MetricsRecorder

# A caller may request any method name. All unknown names share one label value.
UNKNOWN = "unknown"
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class RpcMetrics(grpc.aio.ServerInterceptor):
    """Counts calls. It must be the first interceptor, to see the status that the others set.

    `methods`: full names. Their counters for OK and INTERNAL start at 0, since Prometheus detects
    no increase in a counter that first appears with the value 1.
    """

    def __init__(self, recorder: MetricsRecorder, methods: Iterable[str] = ()) -> None:
        self._recorder = recorder
        for method in methods:
            for code in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL):
                recorder.add(series.RPC_HANDLED, short_name(method), code.name, by=0)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, which counts its calls."""
        handler = await continuation(handler_call_details)
        if handler is None:
            self._recorder.add(series.RPC_STARTED, UNKNOWN)
            self._recorder.add(series.RPC_HANDLED, UNKNOWN, grpc.StatusCode.UNIMPLEMENTED.name)
            return handler
        method = short_name(handler_call_details.method)
        kind = _kind_of(handler)
        inner = getattr(handler, kind)
        if inspect.isasyncgenfunction(inner):
            return handler._replace(**{kind: self._generator(inner, method)})
        watched = self._coroutine(inner, method, is_stream=handler.response_streaming)
        return handler._replace(**{kind: watched})

    def _coroutine(self, inner: Any, method: str, *, is_stream: bool) -> Any:
        async def watched(request: Any, context: Any) -> Any:
            with self._call(method, context) as answered:
                if is_stream:
                    return await inner(request, _Writing(context, answered))
                answer = await inner(request, context)
                answered()
                return answer

        return watched

    def _generator(self, inner: Any, method: str) -> Any:
        async def watched(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._call(method, context) as answered:
                async with aclosing(inner(request, context)) as messages:
                    async for message in messages:
                        answered()
                        yield message

        return watched

    @contextmanager
    def _call(self, method: str, context: Any) -> Iterator[Callable[[], None]]:
        add, begun, is_answered = self._recorder.add, time.monotonic(), False

        def answered() -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                took_s = time.monotonic() - begun
                self._recorder.observe(series.RPC_SECONDS, method, value=took_s)

        add(series.RPC_STARTED, method)
        add(series.RPCS_OPEN, method)
        code = grpc.StatusCode.UNKNOWN.name
        try:
            yield answered
            code = code_of(context)
        except (asyncio.CancelledError, GeneratorExit):
            code = cancelled_code_of(context)
            raise
        except grpc.aio.AbortError:
            code = code_of(context)
            # An error counts as an answer.
            answered()
            raise
        finally:
            add(series.RPCS_OPEN, method, by=-1)
            add(series.RPC_HANDLED, method, code)


class _Writing:
    """The context of a stream. It calls `answered` before each message is written."""

    def __init__(self, context: Any, answered: Callable[[], None]) -> None:
        self._context = context
        self._answered = answered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def write(self, message: Any) -> Any:
        """Send a message."""
        self._answered()
        return self._context.write(message)


def short_name(method: str) -> str:
    """Return service and method without the package, as a label value."""
    service, _, name = method.strip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def _kind_of(handler: Any) -> str:
    started = "stream" if handler.request_streaming else "unary"
    answered = "stream" if handler.response_streaming else "unary"
    return f"{started}_{answered}"


def code_of(context: Any) -> str:
    """Return the name of the status code of a call that has ended."""
    code = context.code() or grpc.StatusCode.OK
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _NAMES.get(code, grpc.StatusCode.UNKNOWN.name)


def cancelled_code_of(context: Any) -> str:
    """Return the name of the status code of a cancelled call.

    gRPC cancels a call when the caller has disconnected and when the deadline has passed.
    """
    left_s = context.time_remaining()
    is_over = left_s is not None and left_s <= 0
    return (grpc.StatusCode.DEADLINE_EXCEEDED if is_over else grpc.StatusCode.CANCELLED).name
