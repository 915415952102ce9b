"""Test that each call is counted once, and that its span has the code its caller saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import grpc
import pytest

from server.observability.rpc_metrics import UNKNOWN, RpcMetrics
from server.observability.rpc_traces import RpcTraces
from storage.telemetry.counters import Counters
from storage.telemetry.otel import OtelTracer
from storage.telemetry.tracing import NO_TRACER, Tracer
from tests.network.http2 import Caller
from tests.sandbox.receivers.otlp_receiver import OtlpReceiver

SERVICE = "autos.tests.v1.Counted"
DEADLINE_S = 60.0
_NAMES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class _Counted:
    """The callers of `SERVICE`, and the counted calls."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, counters: Counters) -> None:
        self._channel = channel
        self._caller = caller
        self._shown = counters.shown(None)

    def unary(self, method: str, **options: Any) -> Any:
        call: Any = self._channel.unary_unary(f"/{SERVICE}/{method}")
        return call(b"", **options)

    def stream(self, method: str, **options: Any) -> Any:
        call: Any = self._channel.unary_stream(f"/{SERVICE}/{method}")
        return call(b"", **options)

    def overdue(self, method: str) -> None:
        """Call with a deadline that only the server keeps.

        gRPC's own caller also cancels such a call, on a busy machine before the server's deadline.
        """
        path = f"/{SERVICE}/{method}"
        self._caller.open(path, b"", metadata=[("grpc-timeout", "50m")])

    def value(self, series: str, method: str, **labels: str) -> float:
        return self._shown.get_sample_value(series, {"method": method, **labels}) or 0

    def is_shown(self, method: str, code: str) -> bool:
        labels = {"method": f"Counted/{method}", "code": code}
        return self._shown.get_sample_value("autos_rpc_handled_total", labels) is not None

    async def until_over(self, method: str, code: str) -> None:
        """Wait until a call is counted as ended with this code; assert that no other is."""
        short = method if method == UNKNOWN else f"Counted/{method}"
        async with asyncio.timeout(DEADLINE_S):
            while not self.value("autos_rpc_handled_total", short, code=code):
                await asyncio.sleep(0.005)
        codes = {each.name for each in grpc.StatusCode} - {code}
        assert [c for c in codes if self.value("autos_rpc_handled_total", short, code=c)] == []
        assert self.value("autos_rpc_handled_total", short, code=code) == 1
        assert self.value("autos_rpc_started_total", short) == 1
        assert self.value("autos_rpcs_open", short) == 0


async def _good(_request: bytes, _context: Any) -> bytes:
    return b"yes"


async def _refused(_request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no")
    raise AssertionError("abort raises")


async def _away(_request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    raise AssertionError("abort raises")


async def _broken(_request: bytes, _context: Any) -> bytes:
    raise RuntimeError("a bug")


async def _slow(_request: bytes, _context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def _two(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    yield b"1"
    yield b"2"


async def _endless(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    yield b"1"
    await asyncio.Event().wait()


async def _cut(_request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"1"
    await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")


UNARY = {"Good": _good, "Refused": _refused, "Away": _away, "Broken": _broken, "Slow": _slow}
STREAMS = {"Two": _two, "Endless": _endless, "Cut": _cut}


@asynccontextmanager
async def _served(tracer: Tracer = NO_TRACER) -> AsyncIterator[_Counted]:
    counters = Counters()
    watching = [RpcMetrics(counters, [f"{SERVICE}/Never"]), RpcTraces(tracer, SERVICE)]
    server = grpc.aio.server(interceptors=watching)
    handlers: dict[str, Any] = {
        **{name: grpc.unary_unary_rpc_method_handler(each) for name, each in UNARY.items()},
        **{name: grpc.unary_stream_rpc_method_handler(each) for name, each in STREAMS.items()},
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with closing(Caller("127.0.0.1", port)) as caller:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield _Counted(channel, caller, counters)
    finally:
        await server.stop(0)


def _in_loop(play: Callable[[_Counted], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _served() as counted:
            await play(counted)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "code"),
    [("Good", "OK"), ("Refused", "NOT_FOUND"), ("Away", "UNAVAILABLE"), ("Broken", "UNKNOWN")],
)
def test_a_call_is_counted_with_the_code_its_caller_saw(method: str, code: str) -> None:
    async def play(counted: _Counted) -> None:
        assert (await counted.unary(method).code()).name == code
        await counted.until_over(method, code)
        is_answered = counted.value("autos_rpc_seconds_count", f"Counted/{method}")
        assert is_answered == (method in {"Good", "Refused", "Away"})

    _in_loop(play)


@pytest.mark.parametrize("method", ["Slow", "Endless"])
def test_a_call_whose_time_is_over_is_counted_so(method: str) -> None:
    async def play(counted: _Counted) -> None:
        counted.overdue(method)
        await counted.until_over(method, "DEADLINE_EXCEEDED")
        # The stream may have sent its message before.
        if method == "Slow":
            assert not counted.value("autos_rpc_seconds_count", "Counted/Slow")

    _in_loop(play)


def test_a_stream_is_open_until_its_end_and_timed_until_its_first_message() -> None:
    async def play(counted: _Counted) -> None:
        assert [message async for message in counted.stream("Two")] == [b"1", b"2"]
        await counted.until_over("Two", "OK")
        assert counted.value("autos_rpc_seconds_count", "Counted/Two") == 1

        call = counted.stream("Endless")
        assert await call.read() == b"1"
        assert counted.value("autos_rpcs_open", "Counted/Endless") == 1
        call.cancel()
        await counted.until_over("Endless", "CANCELLED")

    _in_loop(play)


def test_a_stream_that_we_end_is_counted_so() -> None:
    async def play(counted: _Counted) -> None:
        call = counted.stream("Cut")
        with pytest.raises(grpc.aio.AioRpcError):
            [message async for message in call]
        assert (await call.code()).name == "UNAVAILABLE"
        await counted.until_over("Cut", "UNAVAILABLE")

    _in_loop(play)


def test_a_bug_is_an_increase_from_nothing() -> None:
    async def play(counted: _Counted) -> None:
        codes = (each.name for each in grpc.StatusCode)
        assert [code for code in codes if counted.is_shown("Never", code)] == ["OK", "INTERNAL"]

    _in_loop(play)


def test_the_span_of_a_call_has_its_code_and_fails_by_our_faults_only() -> None:
    async def call_all(tracer: Tracer) -> None:
        async with _served(tracer) as counted:
            counted.overdue("Slow")
            for method in UNARY.keys() - {"Slow"}:
                await counted.unary(method).code()
            await counted.until_over("Slow", "DEADLINE_EXCEEDED")

    with OtlpReceiver() as receiver, closing(OtelTracer(receiver.url, "server")) as tracer:
        asyncio.run(call_all(tracer))
        tracer.close()
        spans = receiver.wait_for(lambda spans: len(spans) == len(UNARY), DEADLINE_S)
    assert {
        span.name.rpartition("/")[2]: (
            _NAMES[span.attributes["rpc.grpc.status_code"]],
            span.failure if span.is_failed else None,
        )
        for span in spans
    } == {
        "Good": ("OK", None),
        "Refused": ("NOT_FOUND", None),
        "Away": ("UNAVAILABLE", "UNAVAILABLE"),
        "Broken": ("UNKNOWN", "RuntimeError"),
        "Slow": ("DEADLINE_EXCEEDED", "CancelledError"),
    }


def test_methods_that_strangers_invent_make_no_new_labels() -> None:
    async def play(counted: _Counted) -> None:
        for invented in ("Nothing", "Nothing2"):
            assert await counted.unary(invented).code() == grpc.StatusCode.UNIMPLEMENTED
        assert counted.value("autos_rpc_handled_total", UNKNOWN, code="UNIMPLEMENTED") == 2
        assert counted.value("autos_rpc_started_total", "Counted/Nothing") == 0

    _in_loop(play)
