"""Sample pg_stat_activity for the waits of PostgreSQL's sessions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2

from tests.bench.speed.profiling.sql_normalizer import normalize

EVERY_S = 0.02
TOP = 15
WIDTH = 90
# For a blocked session also the statement of the session that blocks it.
_LOOK = """
SELECT coalesce(a.wait_event_type || ': ' || a.wait_event, 'runs') AS wait, a.query,
    (SELECT b.state || ': ' || b.query FROM pg_stat_activity AS b
        WHERE b.pid = (pg_blocking_pids(a.pid))[1]) AS blocker
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.state <> 'idle'
"""


class WaitSamples:
    """The number of samples by statement and wait."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen: Counter[tuple[str, str, str]] = Counter()

    def lines(self) -> list[str]:
        """List the most frequent waits, as the mean number of sessions at any time."""
        lines = ["  sessions at any time, in PostgreSQL (idle ones left out):"]
        for (wait, query, blocker), count in self.seen.most_common(TOP):
            lines.append(f"  {count / (self.looks or 1):6.2f}  {wait:26} {query}")
            if blocker:
                lines.append(f"          behind {blocker}")
        return lines


@contextmanager
def watched(url: str) -> Iterator[WaitSamples]:
    """Sample again and again inside the block."""
    found = WaitSamples()
    is_over = threading.Event()

    def look() -> None:
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not is_over.wait(EVERY_S):
                    cursor.execute(_LOOK)
                    found.looks += 1
                    found.seen.update(
                        (wait, _short(query), _short(blocker or ""))
                        for wait, query, blocker in cursor.fetchall()
                    )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _short(sql: str) -> str:
    return normalize(sql)[:WIDTH]
