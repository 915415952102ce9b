"""`python -m tests.bench.speed [BENCH...]`: the benches, a table of goals, and JSON files.

Exit code 1 if a goal is not met.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from dev.processes.interrupts import raise_at_stop_signals
from tests.bench.speed.benches import (
    lanes,
    large_document,
    large_job,
    many_jobs,
    start_to_end,
    starting,
    thread_use,
    throughput,
)
from tests.bench.speed.goals import Result, keep, print_results
from tests.bench.speed.run_config import RunConfig

MODULES = (
    throughput,
    lanes,
    thread_use,
    start_to_end,
    starting,
    large_document,
    large_job,
    many_jobs,
)
BENCHES: dict[str, Callable[[RunConfig, Console], Result]] = {
    module.NAME: module.run for module in MODULES
}
ROUNDS = 5
FOLDER = Path("var/bench")


def main() -> int:
    """Return the exit code; 130 after Ctrl-C."""
    raise_at_stop_signals()
    try:
        return _run()
    except KeyboardInterrupt as stop:
        print("\nStopped; nothing that the benches started is left.", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else 2)


def _run() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="smaller, for a first look")
    parser.add_argument("--profile", action="store_true", help="one more round, watched by py-spy")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for the JSON and profiles")
    given = parser.parse_args()
    if unknown := set(given.benches) - BENCHES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    config = RunConfig(given.rounds, given.quick, given.profile, given.folder)
    console = Console(width=120)
    results = []
    for name in given.benches or BENCHES:
        begun = time.monotonic()
        console.print(f"{name}: load {os.getloadavg()[0]:.1f}", style="bold")
        result = BENCHES[name](config, console)
        results.append(result)
        file = keep(result, config.folder, config.rounds)
        console.print(f"  {time.monotonic() - begun:.0f} s; {file}", style="dim")
    print_results(console, results)
    return 0 if all(goal.is_met for result in results for goal in result.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
