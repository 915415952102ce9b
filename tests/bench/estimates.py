"""Estimates against what came true: what a job is told after its first tenth, and when it ends.

The estimate is the one that callers get, read from the rows by a fresh look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.database import Database
from storage.queue_view import QueueView
from storage.slots import Limits
from tests.integration import scenes

# Of the time that the job takes in all, from StartDownload to its end.
WITHIN = 0.3
# A look that took longer cannot say when it was, for the purpose of an estimate in seconds.
QUICK_S = 0.05
LOOKS = 20


@dataclass(frozen=True)
class Estimate:
    """What a job was told, what it then took (`rest_s`), and what it took in all."""

    left_s: float | None
    rest_s: float
    whole_s: float

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


def age_requests(database: Database, ages_s: Mapping[UUID, float]) -> None:
    """Has the rows say that the requests of these leases have taken so long."""
    with database.transaction() as transaction:
        transaction.run(
            """
            UPDATE slots SET taken_time = clock_timestamp() - age_s * interval '1 second'
            FROM unnest(%(leases)s::uuid[], %(ages_s)s::double precision[]) AS ages (of, age_s)
            WHERE lease = ages.of
            """,
            leases=list(ages_s),
            ages_s=list(ages_s.values()),
        )


def seconds_left(database: Database, limits: Limits, job_id: UUID) -> float | None:
    """What a caller that asks now is told about a job, less the database's time."""
    looks = (_look(database, limits, job_id) for _ in range(LOOKS))
    took_s, left_s = math.inf, None
    # The clock of the rows is the machine's: of several looks the one that took least counts.
    for look in looks:
        took_s, left_s = min((took_s, left_s), look, key=lambda seen: seen[0])
        if took_s <= QUICK_S:
            break
    return left_s


def _look(database: Database, limits: Limits, job_id: UUID) -> tuple[float, float | None]:
    before = _now(database)
    end = QueueView(database, limits, scenes.LOGIN).places([job_id])[job_id].estimated_end_time
    took = _now(database) - before
    left = end - before - took / 2 if end else None
    return took.total_seconds(), left.total_seconds() if left else None


def _now(database: Database) -> datetime:
    with database.transaction() as transaction:
        now: datetime = transaction.only("SELECT clock_timestamp() AS now")["now"]
        return now


def share_within(estimates: Sequence[Estimate]) -> float:
    """The part of the estimates that are as good as promised."""
    return sum(estimate.of_whole <= WITHIN for estimate in estimates) / len(estimates)
