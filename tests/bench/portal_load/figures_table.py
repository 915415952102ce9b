"""Print the figures of a run for people."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.portal_load.bench_checks import Check
from tests.bench.traffic.journal_figures import Spread, WaitFigures
from tests.sandbox.admission import Visit, timeline

BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 72


def print_checks(console: Console, title: str, checks: Sequence[Check]) -> None:
    """Print a line for each promise."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for check in checks:
        mark = "[green]yes[/]" if check.holds else "[bold red]NO[/]"
        table.add_row(mark, check.promise, check.seen)
    console.print(table)


def print_waits(
    console: Console, waits: Mapping[str, WaitFigures], share: Mapping[str, float]
) -> None:
    """Print how long each client waited."""
    table = Table(title="waiting times, in seconds", title_justify="left")
    table.add_column("client")
    for name in ("jobs", "first document", "", "", "end", "", "", "share of slots"):
        table.add_column(name, justify="right")
    table.add_row("", "", *("median", "p95", "most") * 2, "while all waited", style="dim")
    for client in sorted(waits):
        each = waits[client]
        times = (*_times(each.to_first_document), *_times(each.to_end))
        table.add_row(client, str(each.jobs), *times, f"{share.get(client, 0):.1%}")
    console.print(table)


def _times(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median:.1f}", f"{spread.p95:.1f}", f"{spread.most:.1f}"


def at_once(visits: Sequence[Visit]) -> list[float]:
    """Return the mean number of requests at the portal in each of COLUMNS equal intervals."""
    line = timeline(visits)
    if not line:
        return []
    begin, end = line[0][0], line[-1][0]
    width = (end - begin) / COLUMNS or 1.0
    means = [0.0] * COLUMNS
    for (moment, count), (following, _) in itertools.pairwise(line):
        while moment < following:
            column = min(COLUMNS - 1, int((moment - begin) / width))
            edge = following if column == COLUMNS - 1 else begin + (column + 1) * width
            # An edge that rounds to the moment itself belongs to the next column.
            until = min(following, max(edge, moment + width * 1e-6))
            means[column] += count * (until - moment) / width
            moment = until
    return means


def print_timeline(console: Console, visits: Sequence[Visit], most: int) -> None:
    """Print a bar for each interval: how full the portal was."""
    means = at_once(visits)
    steps = len(BARS) - 1
    bars = "".join(BARS[min(steps, round(steps * mean / most))] for mean in means)
    console.print(f"requests at once, 0 to {most}: |{bars}|", highlight=False)
