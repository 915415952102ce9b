"""`python -m tests.bench.portal_load`: the load of Autos on the portal, as the portal counts it.

Fifty jobs of five clients, over five courts, run against a portal that allows ten requests at once
and has log-normal latencies and bursts of 503. Then some jobs run against a portal that lowers its
limit below ours for a while and answers 429. Exit code 1 if a promise is not kept. `--simulate`:
only the sharing of the portal's time and the estimates, on recorded latencies and a virtual clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests.bench.fairness import full_size_simulation
from tests.bench.portal_load.bench_environment import running_bench_environment
from tests.bench.portal_load.bench_options import BenchOptions
from tests.bench.portal_load.phases import Part, crowd, pauses
from tests.bench.traffic import latency_record


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench-guest", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--documents", type=int, default=20, help="of a job, about")
    parser.add_argument("--seed", type=int, default=1, help="of latencies and sizes")
    parser.add_argument("--seconds", type=float, default=12.0, help="with the limit below ours")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path, help="a file that gets the figures")
    parser.add_argument("--record", type=Path, help="a file that gets the portal's latencies")
    parser.add_argument("--journal", type=Path, help="a file that gets every visit of the crowd")
    parser.add_argument("--simulate", action="store_true")
    arguments = parser.parse_args()
    console = Console(width=110)
    if arguments.simulate:
        return full_size_simulation.main(console, arguments.json, arguments.seed)
    options = BenchOptions(arguments.jobs, arguments.documents, arguments.seed, arguments.seconds)
    with running_bench_environment(
        dict(pair.partition("=")[::2] for pair in arguments.set)
    ) as environment:
        parts: list[Part] = [crowd(environment, options, console)]
        visits = environment.portal.visits()
        if arguments.record:
            latency_record.write(arguments.record, visits)
        if arguments.journal:
            arguments.journal.write_text(json.dumps([asdict(visit) for visit in visits]))
        parts.append(pauses(environment, options, console))
    if arguments.json:
        figures = {part.name: part.figures for part in parts}
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    holds = all(check.holds for part in parts for check in part.checks)
    console.print("all as promised" if holds else "[bold red]not as promised[/]")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
