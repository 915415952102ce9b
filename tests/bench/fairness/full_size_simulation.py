"""Simulate fairness and estimates at full size."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.fairness import estimate_errors
from tests.bench.fairness.estimate_errors import Estimate
from tests.bench.fairness.fairness_simulation import FairnessRun, Outcome
from tests.bench.fairness.scenarios import Scenario, scenarios
from tests.bench.traffic import latency_record
from tests.bench.traffic.slot_usage import Room

ROOM = Room(at_once=10, per_court=6, lanes=5)
# The largest allowed ratio of a job's duration to its duration alone on its share of the slots.
# Requests are indivisible, and the longest recorded ones take ten times as long as most.
MOST = 1.5
# The required fraction of good estimates among all judged jobs, and the lower one in each scenario,
# since some scenarios have ten jobs only.
LEAST_TOLD = 0.9
LEAST_IN_EACH = 0.8


def main(console: Console, file: Path | None, seed: int) -> int:
    """Return the exit code."""
    latencies_s = latency_record.read()
    figures: dict[str, Any] = {}
    estimates: dict[str, list[Estimate]] = {}
    worst = 0.0
    for scenario in scenarios():
        outcomes = FairnessRun(scenario, ROOM, latencies_s, seed=seed).run()
        _print(console, scenario, outcomes)
        figures[scenario.title] = [_figures(outcome) for outcome in outcomes]
        estimates[scenario.title] = [o.estimate for o in outcomes if o.estimate]
        worst = max(worst, *(outcome.ratio for outcome in outcomes))
    estimate_errors.print_table(console, estimates)
    if file:
        file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    console.print(f"the worst took {worst:.2f} times as long as on its share, {MOST} are allowed")
    is_promised = _print_estimates(
        console, [estimate_errors.judged(group) for group in estimates.values()]
    )
    return 0 if worst <= MOST and is_promised else 1


def _print_estimates(console: Console, judged: Sequence[Sequence[Estimate]]) -> bool:
    """Return True if the estimates of these scenarios are within the promise."""
    of_all = estimate_errors.share_within([estimate for group in judged for estimate in group])
    least = min(estimate_errors.share_within(group) for group in judged)
    console.print(
        f"{of_all:.0%} of them are within that, {LEAST_TOLD:.0%} are promised;"
        f" in each scenario {least:.0%} or more, {LEAST_IN_EACH:.0%} are promised"
    )
    return of_all >= LEAST_TOLD and least >= LEAST_IN_EACH


def _figures(outcome: Outcome) -> dict[str, Any]:
    arrival = outcome.arrival
    return {
        **{name: getattr(arrival, name) for name in ("at_s", "client", "court", "priority")},
        "documents": arrival.documents,
        "taken_s": outcome.taken_s,
        "alone_s": outcome.alone_s,
        "estimate": outcome.estimate and asdict(outcome.estimate),
    }


def _print(console: Console, scenario: Scenario, outcomes: Sequence[Outcome]) -> None:
    table = Table(title=scenario.title, title_justify="left")
    table.add_column("jobs of")
    for name in ("jobs", "documents", "took, median", "alone on its share", "ratio", "worst ratio"):
        table.add_column(name, justify="right")
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        a = outcome.arrival
        place = f", court {a.court}" if scenario.slow else ""
        groups.setdefault(f"{a.client}, {a.priority}{place}, {a.documents}", []).append(outcome)
    for name, group in groups.items():
        ratios = [outcome.ratio for outcome in group]
        table.add_row(
            name.rpartition(",")[0],
            str(len(group)),
            name.rpartition(",")[2].strip(),
            f"{statistics.median(o.taken_s for o in group):.1f} s",
            f"{statistics.median(o.alone_s for o in group):.1f} s",
            f"{statistics.median(ratios):.2f}",
            f"{max(ratios):.2f}",
        )
    console.print(table)
