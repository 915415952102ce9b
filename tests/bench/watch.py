"""`python -m tests.bench.watch`: many watchers on one server process, by their own clocks."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence


from rich.console import Console

from dev.deadline import until
from tests.bench.watch_world import running_world
from tests.bench.watchers import running_watchers

TICKS = 50


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-watch", description=__doc__)
    parser.add_argument("--watchers", type=int, default=5_000)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--jobs", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--seconds", type=int, default=10)
    asked = parser.parse_args()
    console = Console(width=110)
    with running_world({}) as world:
        first = 1
        for count in asked.jobs:
            t0 = time.monotonic()
            ids = world.add_jobs(count, first)
            first += count
            console.print(f"{count} jobs made in {time.monotonic()-t0:.1f} s; load {os.getloadavg()}")
            with running_watchers(world.port, asked.processes, asked.channels) as crowd:
                before = world.server.memory_info().rss
                cpu0 = sum(world.server.cpu_times()[:2])
                t0 = time.monotonic()
                each = [ids[i % count] for i in range(asked.watchers)]
                for i, w in enumerate(crowd):
                    w.open(each[i :: len(crowd)], 15)
                try:
                    until(lambda: sum(w.opened() for w in crowd) == asked.watchers, 60, "lost")
                except TimeoutError:
                    console.print("LOST", sum(w.opened() for w in crowd))
                console.print(f"burst {time.monotonic()-t0:.2f} s, server cpu {sum(world.server.cpu_times()[:2])-cpu0:.2f}")
                time.sleep(3)
                console.print(f"memory {(world.server.memory_info().rss-before)/asked.watchers/1024:.1f} KiB/stream")
                for w in crowd: w.seen()
                # steady
                cpu0 = sum(world.server.cpu_times()[:2]); tx0=world.transactions()
                commits = {}
                begun = time.monotonic()
                for tick in range(TICKS * asked.seconds):
                    part = ids[tick % TICKS :: TICKS]
                    if part:
                        moment, revisions = world.change(part)
                        for job_id, revision in revisions.items():
                            commits[job_id, revision] = moment
                    time.sleep(max(0, begun + (tick + 1) / TICKS - time.monotonic()))
                took=time.monotonic() - begun
                time.sleep(2)
                cpu = sum(world.server.cpu_times()[:2]) - cpu0
                seen = [w.seen() for w in crowd]
                lat = [t - commits[j, r] for s in seen for j, r, t in s.messages if (j, r) in commits]
                expected = sum(each.count(j) for j, r in commits)*2
                console.print(
                    f"{count} jobs: {len(lat)} of {expected} messages in {took:.1f}; p50 {quantile(lat,.5)*1e3:.1f} p99 {quantile(lat, .99) * 1e3:.1f} max {max(lat)*1e3:.1f} ms;"
                    f" server cpu {cpu/took:.2f} = {cpu/len(lat)*1e6:.0f} us/msg, client cpu {sum(s.cpu_s for s in seen)/took:.2f}; tx {world.transactions()-tx0} load {os.getloadavg()[0]:.1f}"
                )
            world.end_jobs(ids)
            time.sleep(1)
        # one job for all
        ids = world.add_jobs(1, first)
        with running_watchers(world.port, asked.processes, asked.channels) as crowd:
            for i, w in enumerate(crowd):
                w.open([ids[0]]*(asked.watchers//len(crowd)), 15)
            until(lambda: sum(w.opened() for w in crowd) == asked.watchers, 60, "lost")
            time.sleep(3)
            for w in crowd: w.seen()
            for _ in range(5):
                cpu0 = sum(world.server.cpu_times()[:2])
                moment, revisions = world.change(ids)
                time.sleep(3)
                seen = [w.seen() for w in crowd]
                lat = [t - moment for s in seen for j, r, t in s.messages if r == revisions[ids[0]]]
                console.print(f"one for all: {len(lat)} messages, first {min(lat)*1e3:.0f} last {max(lat)*1e3:.0f} ms, server cpu {sum(world.server.cpu_times()[:2])-cpu0:.2f} client {sum(s.cpu_s for s in seen):.2f}")
            console.print(f"stop: {world.stop_server():.1f} s")
            seen = [w.seen() for w in crowd]
            ends=[e for s in seen for e in s.ends]
            console.print(len(ends), 'ends', ends[:1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
