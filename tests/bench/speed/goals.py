"""Goals of a bench and whether they are met, as a table and as JSON. Pure."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """A measure, one value of each round, and the limit for its median."""

    measure: str
    limit: float
    is_least: bool
    values: Sequence[float]
    unit: str = ""

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Return True if the median keeps the limit."""
        return self.median >= self.limit if self.is_least else self.median <= self.limit

    @property
    def wanted(self) -> str:
        """Return the limit as text."""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{self.unit}"

    @property
    def seen(self) -> str:
        """Return the median and, for several rounds, the range, as text."""
        text = f"{self.median:.3g}{self.unit}"
        if len(self.values) > 1:
            text += f" ({min(self.values):.3g} to {max(self.values):.3g})"
        return text


def at_least(measure: str, limit: float, values: Sequence[float], unit: str = "") -> Goal:
    """Return a goal that is met from `limit` upwards."""
    return Goal(measure, limit, True, values, unit)


def at_most(measure: str, limit: float, values: Sequence[float], unit: str = "") -> Goal:
    """Return a goal that is met up to `limit`."""
    return Goal(measure, limit, False, values, unit)


@dataclass(frozen=True)
class Result:
    """The results of a bench. `figures` go into the JSON unchanged, `notes` below the table."""

    bench: str
    goals: Sequence[Goal]
    figures: Any
    notes: Sequence[str] = field(default_factory=tuple)


def print_results(console: Console, results: Sequence[Result]) -> None:
    """Print one table of all goals, then the notes."""
    table = Table(title_justify="left")
    for name in ("bench", "measure (medians)", "goal", "measured", "met"):
        table.add_column(name, overflow="fold")
    for result in results:
        for place, goal in enumerate(result.goals):
            mark = "[green]yes[/]" if goal.is_met else "[bold red]NO[/]"
            bench = "" if place else result.bench
            table.add_row(bench, goal.measure, goal.wanted, goal.seen, mark)
    console.print(table)
    for result in results:
        for note in result.notes:
            console.print(f"{result.bench}: {note}", highlight=False, markup=False, soft_wrap=True)


def keep(result: Result, folder: Path, rounds: int) -> Path:
    """Write the results to a new file in `folder` and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.bench}.json"
    goals = [
        {**asdict(goal), "median": goal.median, "is_met": goal.is_met} for goal in result.goals
    ]
    kept = {
        "bench": result.bench,
        "rounds": rounds,
        "load_averages": os.getloadavg(),
        "goals": goals,
        "notes": list(result.notes),
        "figures": result.figures,
    }
    file.write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")
    return file
