"""Count the rows and pages that the steps of one session read, by table and index.

PostgreSQL keeps these counts for each transaction of each session. No other session, no autovacuum
and no load of the machine changes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from storage.postgres.database import Database, Row, Transaction
from storage.sql import SqlFunction

# Counts by relation so far in this transaction. Reading the catalog does not change them.
_COUNTS = """
SELECT relname, pg_stat_get_xact_tuples_returned(oid) AS rows,
    pg_stat_get_xact_blocks_fetched(oid) AS pages
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
"""


@dataclass
class Reads:
    """The reads of one step from one table or index."""

    rows: int = 0
    pages: int = 0


@dataclass
class Step:
    """The number of runs of a step, and their total reads of each relation."""

    runs: int = 0
    reads: defaultdict[str, Reads] = field(default_factory=lambda: defaultdict(Reads))


class CountingDatabase(Database):
    """A database over one connection that counts what each step reads through it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, max_connections=1)
        self.steps: defaultdict[str, Step] = defaultdict(Step)
        self.called: set[str] = set()
        self._step = "other"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the reads inside the block as one run of the step `name`."""
        before, self._step = self._step, name
        self.steps[name].runs += 1
        try:
            yield
        finally:
            self._step = before

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Do the same as the base class, and count."""
        with super().transaction() as transaction, self._counted(transaction):
            yield transaction

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Do the same as the base class, and count."""
        with super().snapshot() as transaction, self._counted(transaction):
            yield transaction

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Do the same as the base class, and count."""
        with self.transaction() as transaction:
            yield transaction

    def call(self, function: SqlFunction, **values: Any) -> list[Row]:
        """Do the same as the base class, and count."""
        self.called.add(function.name)
        with self.transaction() as transaction:
            return transaction.all(function.call, **values)

    @contextmanager
    def _counted(self, transaction: Transaction) -> Iterator[None]:
        before = _counts(transaction)
        yield
        self._add(before, _counts(transaction))

    def _add(self, before: dict[str, Reads], after: dict[str, Reads]) -> None:
        reads = self.steps[self._step].reads
        for relation, count in after.items():
            reads[relation].rows += count.rows - before[relation].rows
            reads[relation].pages += count.pages - before[relation].pages


def _counts(transaction: Transaction) -> dict[str, Reads]:
    return {row["relname"]: Reads(row["rows"], row["pages"]) for row in transaction.all(_COUNTS)}
