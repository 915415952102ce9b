"""The queue status of running jobs: position, estimated end and hold."""

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

# While a position is read repeatedly, a hint reminds the scheduler at this interval.
REMIND_S = 5.0
# While a position is not published, hints are sent at this interval.
ASK_AGAIN_S = 0.5
# The maximum number of job ids in one hint.
IDS_IN_HINT = 500


class QueueStatus(NamedTuple):
    """The queue status of a running job. None: unknown or not applicable."""

    queue_position: int | None = None
    estimated_end_time: datetime | None = None
    hold: Hold | None = None
    is_published: bool = False


NOWHERE = QueueStatus()


class QueueView:
    """Reads the positions that the scheduler publishes and requests those that are missing.

    Thread-safe. Raises nothing: without Valkey or a scheduler it returns holds only, without
    PostgreSQL no holds. `clock`: monotonic seconds.
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
        """Return True if Valkey failed a moment ago, so that no position can be read soon."""
        return self._reader.is_quiet

    def is_idle(self) -> bool:
        """Return whether a new job is served at once; False if that is unknown."""
        return self._reader.is_idle()

    def places(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the queue status of running jobs. `courts`: the court of each job."""
        published = self._reader.read(courts)
        self._send_hints(published, courts)
        holds = self._holds.of(courts)
        return {job_id: _place(published.get(job_id), holds.get(job_id)) for job_id in courts}

    def served_at_once(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus] | None:
        """Return the queue status of jobs that wait for no other job; None if they may wait.

        No position is requested: it would be published when the jobs are being served.
        """
        if not self.is_idle():
            return None
        published, holds = self._reader.read(courts), self._holds.of(courts)
        return {job_id: _place(published.get(job_id), holds.get(job_id)) for job_id in courts}

    def held(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the holds of new jobs. Their positions cannot be published yet."""
        holds = self._holds.of(courts)
        return {job_id: _place(None, holds.get(job_id)) for job_id in courts}

    def _send_hints(
        self, published: Mapping[UUID, PublishedPlace], job_ids: Iterable[UUID]
    ) -> None:
        """Request positions from the scheduler, except those that were requested a moment ago."""
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
    """Return a queue status. A held job has no estimated end."""
    if published is None:
        return QueueStatus(hold=hold)
    end_s = None if hold else published.end_s
    return QueueStatus(published.queue_position, _time(end_s), hold, is_published=True)


def _time(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # outside the range of datetime
        return None
