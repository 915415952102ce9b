"""`python -m tests.killpoints --times 20`: SIGKILL at every point, `times` times each.

Prints a table of recovery times: seconds from the kill until the job has ended, its webhook is
delivered and the delivery is recorded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.embedded.embedded_servers import EmbeddedServers, start_all
from dev.folder import DataFolder
from tests.conftest import WEBHOOK_SECRET
from tests.killpoints.assertions import check, check_leftovers, check_queues
from tests.killpoints.mortal_stack import mortal_autos
from tests.killpoints.trials import POINTS, Point, Trial, Turns, attempt
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver


def main() -> int:
    """Return the exit code: 0 if every job survived every kill."""
    arguments = _arguments()
    points = [point for point in POINTS if not arguments.points or point.name in arguments.points]
    with tempfile.TemporaryDirectory(prefix="autos-killpoints-") as folder:
        trials = _run(Path(folder), points, arguments.times, is_as_shipped=arguments.as_shipped)
    print(_table(points, trials))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill -9 at every named point.")
    parser.add_argument("--times", type=int, default=20, help="at each point (%(default)s)")
    parser.add_argument(
        "--as-shipped", action="store_true", help="with the waits of production, so much slower"
    )
    names = [point.name for point in POINTS]
    parser.add_argument("points", nargs="*", help=f"some of: {', '.join(names)}; all if none")
    arguments = parser.parse_args()
    if unknown := set(arguments.points) - set(names):
        parser.error(f"no such point: {', '.join(sorted(unknown))}")
    return arguments


def _run(folder: Path, points: Sequence[Point], times: int, *, is_as_shipped: bool) -> list[Trial]:
    """Run trials in sequence, so that a job meets no kill but its own. Raises AssertionError."""
    trials: list[Trial] = []
    turns = Turns()
    with (
        _servers(folder) as servers,
        WebhookReceiver(secret=WEBHOOK_SECRET) as receiver,
        mortal_autos(servers, receiver, folder, is_as_shipped=is_as_shipped) as (autos, flags),
    ):
        for number in range(times):
            for point in points:
                trial = attempt(autos, flags, turns, point)
                check(autos, trial, flags.deaths())
                trials.append(trial)
                moment = time.strftime("%H:%M:%S")
                print(f"{moment} {number + 1:3} {point.name:24}{trial.recovery_s:6.1f} s")
                sys.stdout.flush()
        check_leftovers(autos, flags, trials)
        check_queues(autos)
    return trials


@contextmanager
def _servers(folder: Path) -> Iterator[EmbeddedServers]:
    data = DataFolder(folder / "servers")
    running = start_all(data, {}, lambda _: None)
    try:
        yield running
    finally:
        running.stop()
        data.close()


def _table(points: Sequence[Point], trials: Sequence[Trial]) -> str:
    lines = [
        "| killed at | process | kills | median s | p99 s | max s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for point in points:
        mine = [trial for trial in trials if trial.point is point]
        took = sorted(trial.recovery_s for trial in mine)
        deaths = sum(len(trial.deaths) for trial in mine)
        roles = ", ".join(dict.fromkeys(death.role for death in mine[0].deaths))
        figures = f"{statistics.median(took):.1f} | {_p99(took):.1f} | {took[-1]:.1f}"
        lines.append(f"| {point.name} | {roles} | {deaths} | {figures} |")
    return "\n".join(lines)


def _p99(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


if __name__ == "__main__":
    sys.exit(main())
