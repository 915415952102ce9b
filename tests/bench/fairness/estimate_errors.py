"""Estimates against what came true: what a job is told after its first tenth, and when it ends.

The estimate is the one that the scheduler makes from what it remembers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

# Of the time that the job takes in all, from StartDownload to its end.
WITHIN = 0.3
# Jobs that have fewer are over after a few requests each lane, so that one that takes long makes
# the difference, of which nothing can be known: alone, not even the best estimate for a job of ten
# documents is within this more often than four times in five.
ENOUGH_DOCUMENTS = 20


@dataclass(frozen=True)
class Estimate:
    """What a job of so many documents was told, what it then took, and what it took in all.

    `came_later`: how many jobs came in between, of which nobody could know.
    """

    documents: int
    left_s: float | None
    rest_s: float
    whole_s: float
    came_later: int = 0

    @property
    def is_within(self) -> bool:
        """Whether it is as good as promised."""
        return self.of_whole <= WITHIN

    @property
    def of_whole(self) -> float:
        """The error as a part of the whole time of the job."""
        return self._error_s / self.whole_s

    @property
    def of_rest(self) -> float:
        """The error as a part of what was left of it."""
        return self._error_s / self.rest_s

    @property
    def _error_s(self) -> float:
        return math.inf if self.left_s is None else abs(self.left_s - self.rest_s)


def first_tenth(documents: int) -> int:
    """So many documents of a job are its first tenth; of a small one the first is."""
    return max(1, math.ceil(documents / 10))


def share_within(told: Sequence[Estimate]) -> float:
    """The part of the estimates that are as good as promised."""
    return sum(estimate.is_within for estimate in told) / len(told)


def judged(told: Sequence[Estimate]) -> list[Estimate]:
    """Those of jobs that are not tiny, after which no other job came; if there are none of the
    latter kind, all of jobs that are not tiny.
    """
    large = [estimate for estimate in told if estimate.documents >= ENOUGH_DOCUMENTS]
    return [estimate for estimate in large if not estimate.came_later] or large


def print_table(console: Console, runs: Mapping[str, Sequence[Estimate]]) -> None:
    """For each scenario how good the estimates were: all, and those that are judged."""
    table = Table(title="told after the first tenth of each job", title_justify="left")
    table.add_column("scenario")
    for name in ("jobs", f"within {WITHIN:.0%}", "error, median", "95 %", "of the rest", "95 %"):
        table.add_column(name, justify="right")
    for title, told in runs.items():
        table.add_row(title, *_row(told))
        if len(known := judged(told)) != len(told):
            table.add_row("  of which promised", *_row(known))
    console.print(table)
    console.print(
        f"promised: to jobs of {ENOUGH_DOCUMENTS} documents or more, when no other job comes later"
    )


def _row(told: Sequence[Estimate]) -> list[str]:
    of_whole = sorted(estimate.of_whole for estimate in told)
    of_rest = sorted(estimate.of_rest for estimate in told)
    errors = [_part(errors, part) for errors in (of_whole, of_rest) for part in (0.5, 0.95)]
    return [str(len(told)), f"{share_within(told):.0%}", *(f"{error:.0%}" for error in errors)]


def _part(ordered: Sequence[float], part: float) -> float:
    """The smallest that so many are not above."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
