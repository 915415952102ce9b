"""The queue as callers see it: place, estimated end and hold of running jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from actors.hints.hint_channel import HintSender
from actors.hints.hints import PlaceAsked
from storage.health.holds import Hold, Holds
from storage.scheduling.published_positions import PlaceReader, PublishedPlace

# While a place is read again and again, the scheduler is reminded so often.
REMIND_S = 5.0
# While a place is not published, the scheduler is asked so often.
ASK_AGAIN_S = 0.5
# Ids in one hint at most.
IDS_IN_HINT = 500


class QueueStatus(NamedTuple):
    """Where a running job stands; None for what is unknown, or is not so."""

    queue_position: int | None = None
    estimated_end_time: datetime | None = None
    hold: Hold | None = None
    is_published: bool = False


NOWHERE = QueueStatus()


class QueueView:
    """Reads what the scheduler publishes, and has it publish what is read. Thread-safe.

    Never raises: without Valkey or a scheduler there are holds only, without PostgreSQL none.
    `clock`: seconds that only grow.
    """

    def __init__(
        self,
        reader: PlaceReader,
        hints: HintSender,
        holds: Holds,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._hints = hints
        self._holds = holds
        self._clock = clock
        self._lock = threading.Lock()
        self._hinted_at: dict[UUID, float] = {}
        self._forget_at = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether Valkey failed a moment ago, so that no place will be known soon."""
        return self._reader.is_quiet

    def places(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return where running jobs stand. `courts`: the jobs with their courts."""
        published = self._reader.read(courts)
        self._send_hints(published, courts)
        holds = self._holds.of(courts)
        return {job_id: _place(published.get(job_id), holds.get(job_id)) for job_id in courts}

    def held(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the same for new jobs, whose places nothing can have published: holds only."""
        holds = self._holds.of(courts)
        return {job_id: _place(None, holds.get(job_id)) for job_id in courts}

    def _send_hints(
        self, published: Mapping[UUID, PublishedPlace], job_ids: Iterable[UUID]
    ) -> None:
        """Have the scheduler publish places, unless it was asked for them a moment ago."""
        due = self._due(published, job_ids)
        hints = [
            PlaceAsked(tuple(due[start : start + IDS_IN_HINT]))
            for start in range(0, len(due), IDS_IN_HINT)
        ]
        self._hints.send(*hints)

    def _due(self, published: Mapping[UUID, PublishedPlace], job_ids: Iterable[UUID]) -> list[UUID]:
        now = self._clock()
        with self._lock:
            if now >= self._forget_at:
                self._forget_at = now + REMIND_S
                self._hinted_at = {
                    i: at for i, at in self._hinted_at.items() if now - at < REMIND_S
                }
            due = []
            for job_id in job_ids:
                after_s = REMIND_S if job_id in published else ASK_AGAIN_S
                if now - self._hinted_at.get(job_id, float("-inf")) >= after_s:
                    self._hinted_at[job_id] = now
                    due.append(job_id)
        return due


def _place(published: PublishedPlace | None, hold: Hold | None) -> QueueStatus:
    """Return a place; what is held has no end that could be estimated."""
    if published is None:
        return QueueStatus(hold=hold)
    end_s = None if hold else published.end_s
    return QueueStatus(published.queue_position, _time(end_s), hold, is_published=True)


def _time(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return None
