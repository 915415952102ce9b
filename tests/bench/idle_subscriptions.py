"""`python -m tests.bench.idle_subscriptions`: what watched cases cost while none of them is due.

The scheduler asks once a second which cases are due. The bench asks as often as it can and gives
the CPU time of one question, of the scheduler and of PostgreSQL, with and without watched cases.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from actors.scheduler.look_starter import INTERVAL_S, LookStarter
from dev.embedded.embedded_servers import EMBEDDED, start_all
from dev.folder import DataFolder
from storage.models import Subscription
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from tests.bench.speed.profiling.cpu_time import spent_s
from tests.sandbox.court_cases.cnj import process_number

CASES, INTERVAL = 10_000, timedelta(hours=24)
ROUNDS, QUESTIONS = 5, 2_000
POSTGRES = {"postgres": EMBEDDED["postgres"]}


def watch(database: Database) -> None:
    """Insert watched cases whose looks are spread over the next day, but for the first minutes."""
    now, spread = datetime.now(UTC) + timedelta(minutes=20), INTERVAL / CASES
    rows = [
        {
            "client": "bench",
            "process_number": process_number(place),
            "interval_s": int(INTERVAL.total_seconds()),
            "webhook_url": "https://hooks.tribunal.jus.br/autos",
            "receiver": "https://hooks.tribunal.jus.br",
            "next_time": now + place * spread,
            "baseline": {},
        }
        for place in range(CASES)
    ]
    with database.transaction() as transaction:
        for begin in range(0, CASES, 1_000):
            transaction.execute(Subscription.insert_many(rows[begin : begin + 1_000]))


def cost_us(starter: LookStarter, postgres: int) -> tuple[float, float]:
    """Return the CPU microseconds of one question: of this process, and of PostgreSQL."""
    own, servers = time.process_time(), spent_s([postgres])
    for _ in range(QUESTIONS):
        starter.start_due()
    own, servers = time.process_time() - own, spent_s([postgres]) - servers
    return own / QUESTIONS * 1e6, servers / QUESTIONS * 1e6


def _print(name: str, costs: list[tuple[float, float]]) -> None:
    own, servers = (statistics.median(each) for each in zip(*costs, strict=True))
    share = (own + servers) / INTERVAL_S / 1e4
    print(
        f"{name:24} scheduler {own:6.0f}, PostgreSQL {servers:6.0f} microseconds a question;"
        f" {share:.3f} % of a core at one every {INTERVAL_S:g} s"
    )


def main() -> None:
    """Print the costs."""
    with tempfile.TemporaryDirectory() as name, closing(DataFolder(Path(name) / "data")) as folder:
        servers = start_all(folder, {}, lambda _line: None, POSTGRES)
        try:
            with closing(Database(servers.env["DATABASE_URL"], max_connections=1)) as database:
                migrate(database)
                starter = LookStarter(database, None, lambda: True, deadline_s=60)
                postgres = servers.supervisor.pid_of("postgres")
                assert postgres is not None
                _print("no watched case", [cost_us(starter, postgres) for _ in range(ROUNDS)])
                watch(database)
                costs = [cost_us(starter, postgres) for _ in range(ROUNDS)]
                _print(f"{CASES} watched cases", costs)
        finally:
            servers.stop()
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
