"""`python -m tests.bench.signal_cost`: the CPU time of the telemetry for one stored document.

The counters are in shared files, as in the forked processes, and a real receiver of traces runs in
its own process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

from storage.telemetry.process_signals import tracer_of
from storage.telemetry.series import MetricsRecorder
from storage.telemetry.shared_folder import shared_folder
from storage.telemetry.signals import COURT, NOOP_SIGNALS, SIZE_BYTES, Signals
from storage.telemetry.tracing import NO_TRACER
from tests.sandbox.receivers.otlp_receiver import OtlpReceiver

ID = uuid4()
ROUNDS, DOCUMENTS = 7, 2_000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(signals: Signals) -> None:
    """Record all signals of the worker and the uploader about one document."""
    with signals.step("download", job_id=ID, document_id=ID, traceparent=TRACEPARENT):
        with signals.request("portal", "GET", COURT, "8.26") as span:
            signals.portal_answered(span, "8.26", 200)
        signals.passed("download", 20_000)
    with signals.step("upload", job_id=ID, document_id=ID, traceparent=TRACEPARENT):
        with signals.request("s3", "PUT", SIZE_BYTES, 20_000):
            pass
        signals.passed("upload", 20_000)
    signals.recorder.counted("autos_documents_ended", ("AVAILABLE", ""), 1)


def cost_us(signals: Signals) -> float:
    """Return the CPU microseconds of this process for a document, including exporter threads."""
    begun = time.process_time()
    for _ in range(DOCUMENTS):
        record(signals)
    if signals.tracer.is_on:
        # Exporting what is queued is part of the cost.
        time.sleep(1)
    return (time.process_time() - begun) / DOCUMENTS * 1e6


def message_cost_us(recorder: MetricsRecorder) -> float:
    """Return the additional microseconds of a stream's message when its call is instrumented."""
    from server.observability.rpc_metrics import RpcMetrics

    async def messages(_request: Any, _context: Any) -> AsyncIterator[bytes]:
        for _ in range(100_000):
            yield b""

    async def drain(handler: Any) -> float:
        begun = time.process_time()
        async for _ in handler(b"", _Context()):
            pass
        return (time.process_time() - begun) / 100_000 * 1e6

    watched = RpcMetrics(recorder)._generator(messages, "Bench/Stream")
    return asyncio.run(drain(watched)) - asyncio.run(drain(messages))


class _Context:
    def code(self) -> None:
        return None


def _receive(pipe: Connection) -> None:
    with OtlpReceiver() as receiver:
        pipe.send(receiver.url)
        pipe.recv()


def main() -> None:
    """Print the table."""
    with shared_folder(os.environ, Path("var")):
        from storage.telemetry.counters import Counters

        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_receive, args=(theirs,))
        process.start()
        url: str = ours.recv()
        with closing(tracer_of(url, "bench")) as tracer:
            kinds = {
                "neither": NOOP_SIGNALS,
                "metrics": Signals(Counters(), NO_TRACER),
                "metrics and traces": Signals(Counters(), tracer),
            }
            costs: dict[str, list[float]] = {name: [] for name in kinds}
            for _ in range(ROUNDS):
                for name, signals in kinds.items():
                    costs[name].append(cost_us(signals))
            per_message = statistics.median(message_cost_us(Counters()) for _ in range(3))
        ours.send(None)
        process.join()
    for name, each in costs.items():
        print(f"{name:20} {statistics.median(each):8.1f} microseconds a document")
    print(f"{'stream':20} {per_message:8.2f} microseconds a message more with metrics")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
