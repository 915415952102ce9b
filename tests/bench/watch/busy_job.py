"""Measure new calls beside open streams: many watches of a busy job, opened at once.

The server sends each of them the job and all of its documents first, and the job changes all the
time. The bench measures another caller: GetStatus, and a new watch at intervals.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import grpc.aio

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from tests.bench.portal_load.bench_checks import Check
from tests.bench.watch.watch_environment import WatchEnvironment
from tests.bench.watch.watch_phases import HEARTBEAT_S, OPEN_S, WatchOptions, quantile
from tests.bench.watch.watchers import running_watchers

DOCUMENTS = 100
CHANGES_PER_S = 20
ASK_EVERY_S = 0.02
UNARY_P99_S, ACCEPT_S = 0.1, 1.0
# Longer than gRPC's core lets a call wait before it ends it.
LOST_S = 35.0


@dataclass
class Seen:
    """The other caller's measurements, in seconds: GetStatus, and the first message of a watch."""

    unary_s: list[float] = field(default_factory=list)
    watch_s: list[float] = field(default_factory=list)


def busy(environment: WatchEnvironment, options: WatchOptions) -> list[Check]:
    """Open all watches of a busy job at once, and call beside them."""
    [job_id] = environment.add_jobs(1, documents=DOCUMENTS)
    with (
        running_watchers(environment.port, 1, options.channels) as [watchers],
        _changing(environment, job_id) as changes,
        _calling(environment.address, job_id) as seen,
    ):
        begun = time.monotonic()
        watchers.open([job_id] * options.watchers, HEARTBEAT_S)
        while watchers.opened() < options.watchers and time.monotonic() - begun < OPEN_S:
            time.sleep(0.1)
        opened_s = time.monotonic() - begun
        time.sleep(max(0.0, LOST_S - opened_s))
        opened, ends = watchers.opened(), len(watchers.seen().ends)
    return _checks(options, opened, ends, opened_s, seen, len(changes))


def _checks(
    options: WatchOptions, opened: int, ends: int, opened_s: float, seen: Seen, changes: int
) -> list[Check]:
    of = f"{options.watchers} watches of a busy job ({DOCUMENTS} documents)"
    p50, p99 = (quantile(seen.unary_s, share) * 1000 for share in (0.5, 0.99))
    most_s = max(*seen.unary_s, *seen.watch_s)
    return [
        Check(
            f"{of} opened at once, none lost",
            f"{options.watchers - opened} without a message, {ends} ended, the last began after"
            f" {opened_s:.1f} s; {changes} changes",
            opened == options.watchers and not ends,
        ),
        Check(
            f"GetStatus beside them: p99 below {UNARY_P99_S * 1000:.0f} ms",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(seen.unary_s)} calls",
            p99 < UNARY_P99_S * 1000,
        ),
        Check(
            f"new calls beside them are accepted within {ACCEPT_S:g} s",
            f"at most {most_s:.2f} s, the first message of {len(seen.watch_s)} watches included",
            most_s < ACCEPT_S,
        ),
    ]


@contextmanager
def _changing(environment: WatchEnvironment, job_id: UUID) -> Iterator[Sequence[float]]:
    """Change the job again and again inside the block."""
    stop, commits = threading.Event(), list[float]()

    def run() -> None:
        while not stop.wait(1 / CHANGES_PER_S):
            commits.append(environment.change([job_id])[0])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join()


@contextmanager
def _calling(address: str, job_id: UUID) -> Iterator[Seen]:
    """Call again and again inside the block, over a separate connection."""
    seen, stop = Seen(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_call(address, job_id, seen, stop)))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


async def _call(address: str, job_id: UUID, seen: Seen, stop: threading.Event) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.DownloadServiceStub(channel)
        number = 0
        while not stop.is_set():
            begun = time.monotonic()
            await stub.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))
            seen.unary_s.append(time.monotonic() - begun)
            number += 1
            if number % 10 == 0:
                begun = time.monotonic()
                # With a revision above all changes so far, the server sends the job only.
                call = stub.WatchProgress(pb.WatchProgressRequest(job_id=str(job_id)))
                await call.read()
                seen.watch_s.append(time.monotonic() - begun)
                call.cancel()
            await asyncio.sleep(ASK_EVERY_S)
