"""The simulation of fairness at full size, on a PostgreSQL of its own."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dev.folder import DataFolder
from dev.servers import EMBEDDED, start_all
from storage.database import Database
from storage.migrate import migrate
from tests.bench import record
from tests.bench.fairness import Outcome, Simulation
from tests.bench.scenarios import Scenario, scenarios
from tests.bench.slots import Room
from tests.databases import create_database

ROOM = Room(at_once=10, per_court=6, lanes=5)
# A job may take so many times as long as alone on its share of the slots. Requests are whole, and
# the longest of those recorded take ten times as long as most.
MOST = 1.5


def main(console: Console, file: Path | None) -> int:
    """The exit code."""
    latencies_s = record.read()
    figures: dict[str, Any] = {}
    worst = 0.0
    with _postgres() as server_url:
        for number, scenario in enumerate(scenarios()):
            with _database(server_url, f"fairness_{number}") as database:
                simulation = Simulation(database, ROOM, latencies_s, slow=scenario.slow)
                outcomes = simulation.run(scenario.arrivals)
            _print(console, scenario, outcomes)
            figures[scenario.title] = [_figures(outcome) for outcome in outcomes]
            worst = max(worst, *(outcome.ratio for outcome in outcomes))
    if file:
        file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    holds = worst <= MOST
    console.print(f"the worst took {worst:.2f} times as long as on its share, {MOST} are allowed")
    return 0 if holds else 1


@contextmanager
def _postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="autos-fairness-") as name:
        folder = DataFolder(Path(name))
        kinds = {"postgres": EMBEDDED["postgres"]}
        servers = start_all(folder, {}, lambda _line: None, kinds)
        try:
            yield servers.env["DATABASE_URL"]
        finally:
            servers.stop()
            folder.close()


@contextmanager
def _database(server_url: str, name: str) -> Iterator[Database]:
    with closing(Database(create_database(server_url, name), max_connections=2)) as database:
        migrate(database)
        yield database


def _figures(outcome: Outcome) -> dict[str, Any]:
    arrival = outcome.arrival
    return {
        **{name: getattr(arrival, name) for name in ("at_s", "client", "court", "priority")},
        "documents": arrival.documents,
        "taken_s": outcome.taken_s,
        "alone_s": outcome.alone_s,
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
