"""Publish queue position and estimated end of requested jobs, from the leader's memory.

A forecast takes seconds if there are many running jobs of many clients and courts. So it runs in a
thread of its own, for at most a fifth of the time. Between two forecasts the last one is published
again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import redis
import structlog

from actors.hints.hints import Hint, PlaceAsked
from actors.scheduler.policy.fairness.fair_queue import FairQueue
from actors.scheduler.policy.outlook import assumed_documents, running_jobs
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.estimates.forecast import Forecast, forecast
from storage.portal.slots import Limits
from storage.scheduling.published_positions import (
    PublishedPlace,
    publish,
    publish_idle,
)

# Seconds between two publications of all requested positions.
INTERVAL_S = 2.0
# Seconds between two publications of whether a new job is served at once, if that is unchanged.
IDLE_INTERVAL_S = 1.0
# Seconds for which a position is published after a server's request.
ASKED_S = 30.0
# Seconds to wait for a requested job that is not in memory; then it joins the rounds.
EXPECTED_S = 1.0
# After a forecast there is a pause of this many times its duration.
REST = 4.0
# The most jobs with published positions.
MOST_ASKED = 20_000
# Seconds that a stopping scheduler waits for a forecast.
STOP_S = 1.0
# An end later than this is unknown.
MOST_SECONDS = 1e11

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The input of a forecast; the rest of the leader's memory may change meanwhile.

    `now`: seconds since 1970 by the database's clock. `requested`: the jobs to publish.
    """

    now: float
    requested: list[UUID]
    runs: list[RememberedRun]
    queue: FairQueue
    limits: Limits
    request_s: Mapping[str, float]
    held_courts: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Forecast:
    now: float
    outlooks: Mapping[UUID, Forecast]

    def place(self, job_id: UUID) -> PublishedPlace | None:
        """Return the position of a job; None if it was not in memory."""
        outlook = self.outlooks.get(job_id)
        if outlook is None:
            return None
        left_s = outlook.seconds_left
        end_s = None if left_s is None or left_s > MOST_SECONDS else self.now + left_s
        return PublishedPlace(outlook.queue_position, end_s)


class PlacePublisher:
    """Record requested jobs, and publish their positions. For the loop's thread only.

    `clock`: monotonic seconds.
    """

    def __init__(self, client: redis.Redis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._requested: dict[UUID, float] = {}
        self._expected: dict[UUID, float] = {}
        self._next_round_at = 0.0
        self._was_idle: bool | None = None
        self._next_idle_at = 0.0
        # The thread's fields. The loop's thread does not touch them while the thread is busy.
        self._handed: _Snapshot | None = None
        self._has_work = threading.Event()
        self._forecast: _Forecast | None = None
        self._next_forecast_at = 0.0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="places", daemon=True)

    def start(self) -> None:
        """Start the thread that makes forecasts and publishes."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, without waiting for a long forecast."""
        self._is_stopping = True
        self._has_work.set()
        self._thread.join(STOP_S)

    @property
    def is_idle(self) -> bool:
        """Return whether the thread has published everything that it was given."""
        return self._handed is None

    def begin_term(self) -> None:
        """Forget the forecasts of an earlier term."""
        self._next_round_at = 0.0
        self._was_idle = None
        if self._handed is None:
            self._forecast = None

    def receive(self, hint: Hint) -> None:
        """Record the requested jobs."""
        if isinstance(hint, PlaceAsked):
            now = self._clock()
            for job_id in hint.job_ids:
                if self._requested.pop(job_id, None) is None:
                    self._expected[job_id] = now
                # Moved to the end: a dictionary keeps the order of first entries.
                self._requested[job_id] = now

    def publish_idle(self, is_idle: bool) -> None:
        """Publish whether a new job is served at once, if that changed or is about to expire.

        Raises redis.RedisError.
        """
        now = self._clock()
        if is_idle is not self._was_idle or now >= self._next_idle_at:
            publish_idle(self._client, is_idle=is_idle)
            self._was_idle = is_idle
            self._next_idle_at = now + IDLE_INTERVAL_S

    def offer(self, state: SchedulerState, database_now: float) -> None:
        """Let the thread publish what is due, unless it is still busy. Returns at once.

        `database_now`: seconds since 1970 by the database's clock.
        """
        if self._handed is not None or not self._requested:
            return
        now = self._clock()
        wanted = self._round(now) if now >= self._next_round_at else self._first_requested(now)
        requested = [job_id for job_id in wanted if state.runs.get(job_id)]
        if not requested:
            return
        for job_id in requested:
            self._expected.pop(job_id, None)
        self._handed = _Snapshot(
            now=database_now,
            requested=requested,
            runs=list(state.runs) if self._may_forecast(now) else [],
            queue=state.queue,
            limits=state.limits,
            request_s=state.estimator.expected(),
            held_courts=frozenset(
                court for court, row in list(state.courts.items()) if row.next_probe_at is not None
            ),
        )
        self._has_work.set()

    def _round(self, now: float) -> list[UUID]:
        self._next_round_at = now + INTERVAL_S
        _forget(self._requested, now - ASKED_S)
        while len(self._requested) > MOST_ASKED:
            del self._requested[next(iter(self._requested))]
        return list(self._requested)

    def _first_requested(self, now: float) -> list[UUID]:
        """Return the jobs with a first request and no publication since."""
        _forget(self._expected, now - EXPECTED_S)
        return list(self._expected) if self._may_forecast(now) else []

    def _may_forecast(self, now: float) -> bool:
        return now >= self._next_forecast_at

    # The thread

    def _run(self) -> None:
        while not self._is_stopping:
            self._has_work.wait()
            self._has_work.clear()
            snapshot = self._handed
            if snapshot is None:
                continue
            try:
                self._publish(snapshot)
            except redis.RedisError as error:
                log.debug("places not published", error=type(error).__name__)
            except Exception:
                log.exception("places not published")
            finally:
                self._handed = None

    def _publish(self, snapshot: _Snapshot) -> None:
        begun = self._clock()
        if snapshot.runs:
            self._forecast = _Forecast(snapshot.now, _outlooks(snapshot))
            ended = self._clock()
            self._next_forecast_at = ended + REST * (ended - begun)
        made = self._forecast
        if made is not None:
            found = ((job_id, made.place(job_id)) for job_id in snapshot.requested)
            publish(self._client, {job_id: place for job_id, place in found if place})


def _outlooks(snapshot: _Snapshot) -> Mapping[UUID, Forecast]:
    # Jobs that wait for the budget of cases request nothing: they have no place, and take none.
    held = [run.row.job_id for run in snapshot.runs if run.row.waits_for_budget]
    others = [run for run in snapshot.runs if not run.row.waits_for_budget]
    outlooks = forecast(
        list(running_jobs(others, snapshot.queue, snapshot.now)),
        snapshot.limits,
        snapshot.request_s,
        held_courts=snapshot.held_courts,
        assumed_documents=assumed_documents(snapshot.runs),
    )
    return outlooks | dict.fromkeys(held, Forecast(None, None))


def _forget(times: dict[UUID, float], before: float) -> None:
    """Delete what is older; entries are in the order of their times."""
    while times and (first := next(iter(times.items())))[1] < before:
        del times[first[0]]
