"""`python -m tests.bench.watch`: thousands of watchers on one server process.

Real PostgreSQL and Valkey, one `python -m server`, watchers in separate processes that only read,
and a writer that changes documents and publishes the changes as the product does. The watchers
measure latencies with their own clocks, from the commit to the arrival. Exit code 1 if a promise is
not kept.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from tests.bench.portal_load.bench_checks import Check
from tests.bench.portal_load.figures_table import print_checks
from tests.bench.watch import watch_phases as parts
from tests.bench.watch.busy_job import busy
from tests.bench.watch.watch_environment import WatchEnvironment, running_watch_environment
from tests.bench.watch.watch_phases import WatchOptions

WARM_UP = 50


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench-watch", description=__doc__)
    parser.add_argument("--watchers", type=int, default=5_000)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2, help="of watchers")
    parser.add_argument("--jobs", type=int, nargs="+", default=[50, 500], help="watched at once")
    parser.add_argument("--seconds", type=int, default=10, help="of an event a second")
    parser.add_argument(
        "--only-busy", action="store_true", help="calls beside a busy job's streams"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path, help="a file that gets the table")
    arguments = parser.parse_args()
    # A collection of hundreds of thousands of figures between a commit and its wake-up would be
    # measured.
    gc.disable()
    console = Console(width=150)
    options = WatchOptions(
        arguments.watchers, arguments.channels, arguments.processes, arguments.seconds
    )
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    checks = [] if arguments.only_busy else [parts.floor(options)]
    with running_watch_environment(
        dict(pair.partition("=")[::2] for pair in arguments.set)
    ) as environment:
        if arguments.only_busy:
            checks += busy(environment, options)
        else:
            checks += _run(environment, options, arguments.jobs)
    print_checks(console, "watching", checks)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(check) for check in checks], indent=1))
    holds = all(check.holds for check in checks)
    console.print("all as promised" if holds else "[bold red]not as promised[/]")
    return 0 if holds else 1


def _run(environment: WatchEnvironment, options: WatchOptions, jobs: list[int]) -> list[Check]:
    ids = environment.add_jobs(max(jobs))
    # Memory that a server allocates once belongs to no stream.
    parts.steady(environment, ids[:1], replace(options, watchers=WARM_UP, seconds=1))
    many = {count: parts.steady(environment, ids[:count], options) for count in jobs}
    checks = [many[jobs[0]].memory, *(check for each in many.values() for check in each.checks)]
    few = parts.steady(
        environment, ids[: jobs[0]], replace(options, watchers=options.watchers // 10)
    )
    checks.append(
        parts.of_reads(few.transactions_per_s, many[jobs[0]].transactions_per_s, jobs[0], options)
    )
    checks += parts.for_all(environment, ids[0], options)
    checks.append(parts.burst_of_grpc(environment, ids[: jobs[0]], options))
    checks += busy(environment, replace(options, watchers=options.watchers * 3 // 5))
    checks.append(parts.stalled(environment, ids[0]))
    checks += parts.stop(environment, ids[: jobs[0]], options)
    return checks


if __name__ == "__main__":
    sys.exit(main())
