"""Read the scheduler's rows between passes, each kind when it is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.login.login_values import Login
from storage.portal.slots import Limits
from storage.postgres.database import Database, Row
from storage.scheduling import scheduler_readings
from storage.scheduling.row_values import (
    CourtRow,
    JobsReading,
    PortalReading,
    PortalRow,
    SlotRow,
    WorkerRow,
)
from storage.scheduling.scheduler_readings import FIRST_KEY, PORTION_JOBS, job_row

PORTAL_INTERVAL_S = 1.0
# The longest round through all running jobs, in seconds.
ROUND_S = 10.0
MIN_PORTION_INTERVAL_S = 0.1
# A run that began within this time is read again with every reading of the portal.
RECENT_S = 60.0


class DatabaseClock:
    """Seconds since 1970 by the database's clock, as measured with the last reading."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset_s = time.time() - monotonic()

    def set(self, database_now: float, began_at: float) -> None:
        """Set the database's time. It was read after `began_at` of the local clock."""
        self._offset_s = database_now - (began_at + self._monotonic()) / 2

    def local(self) -> float:
        """Return the seconds of the local clock."""
        return self._monotonic()

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self._monotonic() + self._offset_s


@dataclass
class Reader:
    """The dependencies of reading. One reader belongs to one term."""

    database: Database
    limits: Limits
    login: Login
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    _portal_at: float = 0.0
    _portion_at: float = 0.0
    _after: UUID = FIRST_KEY

    def next_at(self) -> float:
        """Return when the next reading is due, by the local clock."""
        return min(self._portal_at, self._portion_at)

    def read_due(self, state: SchedulerState) -> None:
        """Take every due reading into `state`. Raises ServiceUnavailable."""
        now = self.clock.local()
        if now >= self._portal_at:
            self._portal_at = now + PORTAL_INTERVAL_S
            self._read_portal(state)
            self._read_recent(state)
        if now >= self._portion_at:
            self._read_portion(state)

    def _read_portal(self, state: SchedulerState) -> None:
        sent_at, began_at = self.clock.local(), self.clock.now()
        read = scheduler_readings.read_portal(self.database, self.login)
        self.clock.set(read.now, sent_at)
        state.read_portal(
            PortalReading(
                began_at=min(began_at, self.clock.now()),
                portal=self._portal_row(read.portal),
                slots=tuple(SlotRow(**row) for row in read.slots),
                courts={row["court"]: CourtRow(**row) for row in read.courts},
                workers=tuple(WorkerRow(**row) for row in read.workers),
            ),
            self.clock.now(),
        )

    def _portal_row(self, row: Row) -> PortalRow:
        per_minute = self.limits.per_minute
        eased = row["at_once"]
        return PortalRow(
            at_once=self.limits.at_once if eased is None else min(eased, self.limits.at_once),
            closed_until=row["closed_until"],
            request_interval_s=60 / per_minute if per_minute else None,
            next_request_at=row["next_request_at"],
            held_clients=tuple(row["held_clients"]),
        )

    def _read_recent(self, state: SchedulerState) -> None:
        began_at = self.clock.now()
        since = datetime.fromtimestamp(began_at - RECENT_S, UTC)
        rows = scheduler_readings.read_recent_jobs(self.database, since=since)
        jobs = tuple(map(job_row, rows))
        state.read_jobs(JobsReading(began_at, jobs, is_whole=False), self.clock.now())

    def _read_portion(self, state: SchedulerState) -> None:
        began_at, after = self.clock.now(), self._after
        rows = scheduler_readings.read_jobs(self.database, after=after)
        is_last = len(rows) < PORTION_JOBS
        reading = JobsReading(
            began_at,
            tuple(map(job_row, rows)),
            after=None if after == FIRST_KEY else after,
            up_to=None if is_last else rows[-1]["job_id"],
        )
        state.read_jobs(reading, self.clock.now())
        self._after = FIRST_KEY if is_last else rows[-1]["job_id"]
        # Spread over the round; a round of few portions is made every second.
        portions = max(1, -(-len(state.runs) // PORTION_JOBS))
        interval_s = max(MIN_PORTION_INTERVAL_S, ROUND_S / 2 / portions)
        self._portion_at = self.clock.local() + min(PORTAL_INTERVAL_S, interval_s)
