"""Run the phases: an operation on the server, and the measurements of its watchers."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from uuid import UUID

import grpc.aio

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.processes.deadline import until
from tests.bench.portal_load.bench_checks import Check
from tests.bench.watch.null_server import TICKS_PER_S, running_bare
from tests.bench.watch.watch_environment import WatchEnvironment
from tests.bench.watch.watchers import PATH, ArrivedMessages, Watchers, running_watchers
from tests.network.http2 import Caller

HEARTBEAT_S = 15
OPEN_S = 120.0
SETTLE_S = 3.0
P99_MS, LAST_S, KIB_PER_STREAM, STALL_S, STOP_S = 50.0, 0.5, 40.0, 30.0, 10.0
KIB = 1024
# A change of a document sends two messages: the document, and the job's counters.
MESSAGES = 2
EVENTS_FOR_ALL = 5


@dataclass(frozen=True)
class WatchOptions:
    """The size of a run."""

    watchers: int
    channels: int
    processes: int
    seconds: int


@dataclass(frozen=True)
class Cost:
    """CPU seconds used in an interval, and the load of the machine."""

    server_s: float
    clients_s: float
    took_s: float
    load: float

    def __str__(self) -> str:
        server, clients = self.server_s / self.took_s, self.clients_s / self.took_s
        return f"server {server:.0%}, clients {clients:.0%} of a core; load {self.load:.0f}"


class CostMeter:
    """Measures from its creation."""

    def __init__(self, environment: WatchEnvironment) -> None:
        self._world = environment
        self._begun = time.monotonic()
        self._server_s = self._cpu_s()

    def cost(self, seen: Sequence[ArrivedMessages]) -> Cost:
        """Return the cost since its creation. `seen`: the messages of the watchers since then."""
        return Cost(
            self._cpu_s() - self._server_s,
            sum(each.cpu_s for each in seen),
            time.monotonic() - self._begun,
            os.getloadavg()[0],
        )

    def _cpu_s(self) -> float:
        times = self._world.server.cpu_times()
        return float(times.user + times.system)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def floor(options: WatchOptions) -> Check:
    """Measure the watchers' latency for a sender that does nothing else."""
    with (
        running_bare() as bare,
        running_watchers(bare.port, options.processes, options.channels) as crowd,
    ):
        no_job = UUID(int=0)
        _open(crowd, [no_job] * options.watchers)
        _seen(crowd)
        bare.run(options.seconds)
        time.sleep(SETTLE_S)
        waits = [
            moment - bare.sent[revision]
            for seen in _seen(crowd)
            for _, revision, moment in seen.messages
        ]
    return Check(
        "the clients' own share of a latency, of a bare sender at the same rate",
        f"p50 {quantile(waits, 0.5) * 1000:.1f} ms, p99 {quantile(waits, 0.99) * 1000:.1f} ms",
        len(waits) >= options.watchers * (options.seconds - 1),
    )


def burst_of_grpc(
    environment: WatchEnvironment, ids: Sequence[UUID], options: WatchOptions
) -> Check:
    """Open all streams at once by gRPC's own client, in one process."""

    async def open_all() -> tuple[int, float]:
        channels = [
            grpc.aio.insecure_channel(
                environment.address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(options.channels)
        ]
        stubs = [pb_grpc.DownloadServiceStub(channel) for channel in channels]
        begun = time.monotonic()
        calls = [
            stubs[i % len(stubs)].WatchProgress(
                pb.WatchProgressRequest(job_id=str(ids[i % len(ids)]), after_revision=1)
            )
            for i in range(options.watchers)
        ]
        answers = await asyncio.gather(*(call.read() for call in calls), return_exceptions=True)
        took_s = time.monotonic() - begun
        for call in calls:
            call.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))
        return sum(isinstance(a, pb.WatchProgressResponse) for a in answers), took_s

    opened, took_s = asyncio.run(open_all())
    return _opened(options, opened, took_s, "gRPC's own client")


def _opened(options: WatchOptions, opened: int, took_s: float, by: str) -> Check:
    lost = options.watchers - opened
    promise = f"{options.watchers} streams in one burst on {options.channels} channels, none lost"
    return Check(promise, f"{lost} lost, all had a message after {took_s:.1f} s ({by})", lost == 0)


@dataclass(frozen=True)
class Steady:
    """The results for one event a second on each stream: latencies, and the database's work.

    `memory` is valid only for a server that has never had more streams.
    """

    memory: Check
    checks: list[Check]
    transactions_per_s: float


def steady(environment: WatchEnvironment, ids: Sequence[UUID], options: WatchOptions) -> Steady:
    """Open all streams, then send one event a second on each."""
    with running_watchers(environment.port, options.processes, options.channels) as crowd:
        before = environment.server.memory_info().rss
        begun = time.monotonic()
        opened = _open(crowd, _spread(ids, options.watchers))
        took_s = time.monotonic() - begun
        time.sleep(SETTLE_S)
        _seen(crowd)
        grown = (environment.server.memory_info().rss - before) / options.watchers / KIB
        meter, transactions = CostMeter(environment), environment.transactions()
        commits = _change_all(environment, ids, options.seconds)
        time.sleep(SETTLE_S)
        seen = _seen(crowd)
        cost, transactions = meter.cost(seen), environment.transactions() - transactions
    of = f"{options.watchers} streams of {len(ids)} jobs"
    return Steady(
        Check(
            f"memory below {KIB_PER_STREAM:.0f} KiB a stream",
            f"{grown:.1f} KiB ({of})",
            grown < KIB_PER_STREAM,
        ),
        [
            _opened(options, opened, took_s, f"{len(ids)} jobs"),
            _in_time(of, _expected(ids, options.watchers, commits), _waits(seen, commits), cost),
        ],
        transactions / cost.took_s,
    )


def _in_time(of: str, expected: int, waits: Sequence[float], cost: Cost) -> Check:
    p50, p99, most = (quantile(waits, share) * 1000 for share in (0.5, 0.99, 1.0))
    micros = cost.server_s / len(waits) * 1e6
    return Check(
        f"an event a second on each of {of}: p99 below {P99_MS:.0f} ms",
        f"p50 {p50:.1f}, p99 {p99:.1f}, most {most:.0f} ms; {expected - len(waits)} of {expected}"
        f" messages missing; {micros:.0f} us of the server each; {cost}",
        p99 < P99_MS and len(waits) == expected,
    )


def of_reads(few: float, many: float, jobs: int, options: WatchOptions) -> Check:
    """Check whether the database's work depends on jobs or on watchers."""
    return Check(
        "database reads grow with jobs, not with watchers",
        f"{jobs} jobs: {few:.0f} transactions/s with {options.watchers // 10} watchers,"
        f" {many:.0f} with {options.watchers}",
        many < 2 * few + 5,
    )


def for_all(environment: WatchEnvironment, job_id: UUID, options: WatchOptions) -> list[Check]:
    """Send events of one job that all streams watch."""
    lasts: list[float] = []
    counters: list[float] = []
    with running_watchers(environment.port, options.processes, options.channels) as crowd:
        _open(crowd, [job_id] * options.watchers)
        time.sleep(SETTLE_S)
        _seen(crowd)
        meter, everything = CostMeter(environment), []
        for _ in range(EVENTS_FOR_ALL):
            moment, revisions = environment.change([job_id])
            time.sleep(SETTLE_S)
            seen = _seen(crowd)
            everything += seen
            waits = sorted(
                at - moment
                for each in seen
                for _, revision, at in each.messages
                if revision == revisions[job_id]
            )
            # On each stream the first message is the event, the second the job's counters.
            lasts.append(waits[min(options.watchers, len(waits)) - 1])
            counters.append(waits[-1] if len(waits) == MESSAGES * options.watchers else 99.0)
        cost = meter.cost(everything)
    return [
        Check(
            f"an event that all {options.watchers} watch reaches the last within {LAST_S:g} s",
            f"median {quantile(lasts, 0.5):.2f} s, most {max(lasts):.2f} s; with the job's"
            f" counters after it {quantile(counters, 0.5):.2f} s, {max(counters):.2f} s;"
            f" {cost.server_s / EVENTS_FOR_ALL:.2f} s of the server each; load {cost.load:.0f}",
            quantile(lasts, 0.5) < LAST_S,
        )
    ]


def stalled(environment: WatchEnvironment, job_id: UUID) -> Check:
    """Measure a reader that stops reading."""
    with closing(Caller("127.0.0.1", environment.port, window=1_000)) as caller:
        caller.socket.settimeout(2 * STALL_S)
        stream = caller.open(PATH, pb.WatchProgressRequest(job_id=str(job_id)).SerializeToString())
        begun = time.monotonic()
        ended_s = 0.0
        while not ended_s:
            for event in caller.read():
                if event.stream == stream and event.message is None:
                    ended_s = time.monotonic() - begun
            # grpc.aio releases a call when the next one has come.
            caller.open("/grpc.health.v1.Health/Check", b"")
            time.sleep(0.2)
    return Check(
        f"a reader that stops reading is cut off after {STALL_S:.0f} s",
        f"after {ended_s:.1f} s",
        STALL_S <= ended_s < STALL_S + 5,
    )


def stop(environment: WatchEnvironment, ids: Sequence[UUID], options: WatchOptions) -> list[Check]:
    """Send SIGTERM with all streams open."""
    with running_watchers(environment.port, options.processes, options.channels) as crowd:
        _open(crowd, _spread(ids, options.watchers))
        time.sleep(SETTLE_S)
        _seen(crowd)
        took_s = environment.stop_server()
        ends = [trailers for seen in _seen(crowd) for _, trailers in seen.ends]
    refused = [end for end in ends if b"grpc-status\x0214" in end]
    pushbacks = [int(m[1]) for end in refused if (m := PUSHBACK.search(end))]
    spread = f"{min(pushbacks)} to {max(pushbacks)} ms" if pushbacks else "nothing"
    return [
        Check(f"a restart takes less than {STOP_S:.0f} s", f"{took_s:.1f} s", took_s < STOP_S),
        Check(
            "its watches end with UNAVAILABLE and a jittered hint when to come back",
            f"{len(pushbacks)} of {options.watchers}, {spread}",
            len(pushbacks) == options.watchers,
        ),
    ]


PUSHBACK = re.compile(rb"grpc-retry-pushback-ms.(\d+)", re.S)


def _spread(ids: Sequence[UUID], watchers: int) -> list[UUID]:
    return [ids[i % len(ids)] for i in range(watchers)]


def _open(crowd: Sequence[Watchers], job_ids: Sequence[UUID]) -> int:
    """Return how many of the streams, one for each of these jobs, got a message."""
    for i, watchers in enumerate(crowd):
        watchers.open(job_ids[i :: len(crowd)], HEARTBEAT_S)

    def opened() -> int:
        return sum(watchers.opened() for watchers in crowd)

    with suppress(TimeoutError):
        until(lambda: opened() == len(job_ids), OPEN_S, "lost")
    return opened()


def _seen(crowd: Sequence[Watchers]) -> list[ArrivedMessages]:
    return [watchers.seen() for watchers in crowd]


Commits = dict[tuple[UUID, int], float]


def _change_all(environment: WatchEnvironment, ids: Sequence[UUID], seconds: int) -> Commits:
    """Send an event a second for each job, spread over the second; return the commit times."""
    commits: Commits = {}
    begun = time.monotonic()
    for tick in range(TICKS_PER_S * seconds):
        if some := ids[tick % TICKS_PER_S :: TICKS_PER_S]:
            moment, revisions = environment.change(some)
            commits.update(dict.fromkeys(revisions.items(), moment))
        time.sleep(max(0.0, begun + (tick + 1) / TICKS_PER_S - time.monotonic()))
    return commits


def _waits(seen: Sequence[ArrivedMessages], commits: Commits) -> list[float]:
    return [
        moment - commits[job_id, revision]
        for each in seen
        for job_id, revision, moment in each.messages
        if (job_id, revision) in commits
    ]


def _expected(ids: Sequence[UUID], watchers: int, commits: Commits) -> int:
    streams = Counter(_spread(ids, watchers))
    return MESSAGES * sum(streams[job_id] for job_id, _ in commits)
