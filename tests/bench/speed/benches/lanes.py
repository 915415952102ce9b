"""Measure how close five lanes come to the optimum when latencies differ much."""

from __future__ import annotations

import statistics
from typing import Any

from rich.console import Console

from tests.bench.speed.goals import Result, at_most
from tests.bench.speed.latency_model import (
    LogNormalLatency,
    in_batches_s,
    in_order_s,
    longest_first_s,
)
from tests.bench.speed.portals.waiting_portal import case_of, running_waiting_portal
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment

NAME = "lanes"
DRAWN = LogNormalLatency(0.4, 0.8, 7)
LANES = 5
GOAL = 1.03
# Generous for a busy machine; only a job without progress reaches it.
PATIENCE_S = 600.0


def run(config: RunConfig, console: Console) -> Result:
    """Run a job in each round."""
    documents = 50 if config.is_quick else 200
    rounds: list[dict[str, Any]] = []
    with running_waiting_portal(DRAWN, _silent) as url, running_environment(url) as stage:
        _job(stage, stage.new_number(documents=5))  # Every process has connected once.
        for round_ in range(1, config.rounds + 1):
            rounds.append(_job(stage, stage.new_number(documents=documents)))
            formatted = {name: f"{value:.2f}" for name, value in rounds[-1].items()}
            console.print(f"  round {round_}, seconds: {formatted}", style="dim", highlight=False)
    ratios = [each["autos"] / each["in order"] for each in rounds]
    batches = statistics.median(each["batches of five"] / each["in order"] for each in rounds)
    longest = statistics.median(each["longest first"] / each["in order"] for each in rounds)
    goal = at_most(f"{documents} documents: of the ideal time of five lanes", GOAL, ratios, " x")
    note = (
        "ideal: each lane takes the next document of the list as soon as it is free;"
        f" batches of five take {batches:.2f} x that, and who knew all latencies before and began"
        f" with the longest {longest:.2f} x"
    )
    return Result(NAME, [goal], rounds, [note])


def _silent(_line: str) -> None:
    """Discard the portal's output."""


def _job(stage: SpeedEnvironment, number: str) -> dict[str, float]:
    """Return the seconds of a job, and the optimum."""
    latencies = [DRAWN.of(number, d.position) for d in case_of(number).documents]
    ideal_s = in_order_s(latencies, LANES)
    seconds = stage.run_jobs([number], timeout_s=PATIENCE_S)
    return {
        "autos": seconds,
        "in order": ideal_s,
        "longest first": longest_first_s(latencies, LANES),
        "batches of five": in_batches_s(latencies, LANES),
    }
