"""Compare the estimate after the first tenth of a job with the job's real end.

The estimate is the one that the scheduler makes from its memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

# A fraction of the job's whole duration, from StartDownload to its end.
WITHIN = 0.3
# Smaller jobs end after a few requests per lane, so that one slow and unpredictable request decides
# the error. Alone, even the best estimate for a job of ten documents is within this limit four
# times in five only.
ENOUGH_DOCUMENTS = 20


@dataclass(frozen=True)
class Estimate:
    """The estimate for a job of `documents` documents, its real rest and its real duration.

    `came_later`: the number of jobs that arrived in between, which no estimate could foresee.
    """

    documents: int
    left_s: float | None
    rest_s: float
    whole_s: float
    came_later: int = 0

    @property
    def is_within(self) -> bool:
        """Return True if the error is within the promise."""
        return self.of_whole <= WITHIN

    @property
    def of_whole(self) -> float:
        """Return the error as a fraction of the job's whole duration."""
        return self._error_s / self.whole_s

    @property
    def of_rest(self) -> float:
        """Return the error as a fraction of the job's rest."""
        return self._error_s / self.rest_s

    @property
    def _error_s(self) -> float:
        return math.inf if self.left_s is None else abs(self.left_s - self.rest_s)


def first_tenth(documents: int) -> int:
    """Return the number of documents in a job's first tenth, at least one."""
    return max(1, math.ceil(documents / 10))


def share_within(estimates: Sequence[Estimate]) -> float:
    """Return the fraction of the estimates that are within the promise."""
    return sum(estimate.is_within for estimate in estimates) / len(estimates)


def judged(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates of jobs that are not tiny and that no later job delayed.

    If there are none, return those of all jobs that are not tiny.
    """
    large = [estimate for estimate in estimates if estimate.documents >= ENOUGH_DOCUMENTS]
    return [estimate for estimate in large if not estimate.came_later] or large


def print_table(console: Console, runs: Mapping[str, Sequence[Estimate]]) -> None:
    """Print for each scenario the errors of all estimates and of the judged ones."""
    table = Table(title="estimates after the first tenth of each job", title_justify="left")
    table.add_column("scenario")
    for name in ("jobs", f"within {WITHIN:.0%}", "error, median", "95 %", "of the rest", "95 %"):
        table.add_column(name, justify="right")
    for title, estimates in runs.items():
        table.add_row(title, *_row(estimates))
        if len(known := judged(estimates)) != len(estimates):
            table.add_row("  of which promised", *_row(known))
    console.print(table)
    console.print(
        f"promised: to jobs of {ENOUGH_DOCUMENTS} documents or more, when no other job comes later"
    )


def _row(estimates: Sequence[Estimate]) -> list[str]:
    of_whole = sorted(estimate.of_whole for estimate in estimates)
    of_rest = sorted(estimate.of_rest for estimate in estimates)
    errors = [_part(errors, part) for errors in (of_whole, of_rest) for part in (0.5, 0.95)]
    return [
        str(len(estimates)),
        f"{share_within(estimates):.0%}",
        *(f"{error:.0%}" for error in errors),
    ]


def _part(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that a `part` of the values do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
