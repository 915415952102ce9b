"""The process `scheduler`: while it leads, it reads, decides and proposes in passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import dramatiq
import redis

from actors.hints.hint_channel import HintReceiver
from actors.scheduler.leadership import Leadership
from actors.scheduler.policy.dispatcher import Group, plan
from actors.scheduler.policy.scheduler_state import SchedulerState
from actors.scheduler.position_publisher import PlacePublisher
from actors.scheduler.reader import Reader
from storage.errors import ServiceUnavailable
from storage.logs import OutageLog
from storage.portal.slots import Limits
from storage.valkey import PART, meaning

# Passes in a row without a pause.
BURST_PASSES = 10
# Seconds between two passes after a burst. One pass then takes the hints of several slices, and a
# pass costs several round trips, whatever it takes.
PASS_INTERVAL_S = 0.015
# Seconds after which a pass runs without a hint or another due task.
MAX_WAIT_S = 0.25
# Seconds before the next attempt after a failure of PostgreSQL or Valkey.
OUTAGE_WAIT_S = 0.5
# The operation in the log.
PROPOSE = "propose"

# Sends the proposals of a pass. A failed send needs no handling.
Propose = Callable[[Sequence[Group]], None]


class Pace:
    """A token bucket: BURST_PASSES at most, one more every PASS_INTERVAL_S."""

    def __init__(self, now: float) -> None:
        self._passes = float(BURST_PASSES)
        self._at = now

    def pause_s(self, now: float) -> float:
        """Count a pass that begins now, and return the seconds for which it must wait before."""
        gained = (now - self._at) / PASS_INTERVAL_S
        self._passes = min(BURST_PASSES, self._passes + gained) - 1
        self._at = now
        return max(0.0, -self._passes * PASS_INTERVAL_S)


@dataclass
class SchedulerLoop:
    """The dependencies of the scheduler. Any number of schedulers may run; one leads.

    `make_reader`: makes a reader for a new term. `on_pass`: called with the seconds that a pass
    took.
    """

    leadership: Leadership
    hints: HintReceiver
    make_reader: Callable[[], Reader]
    propose: Propose
    limits: Limits
    places: PlacePublisher
    on_pass: Callable[[float], None] = lambda _seconds: None
    outages: OutageLog = field(default_factory=lambda: OutageLog(PART))

    def run(self, stop: threading.Event) -> None:
        """Lead whenever this process holds the lease, until `stop` is set."""
        self.leadership.start()
        self.places.start()
        try:
            while not stop.is_set():
                term = self.leadership.await_term(MAX_WAIT_S)
                if term is not None:
                    self._lead(term, stop)
        finally:
            self.leadership.stop()
            self.places.stop()

    def _lead(self, term: UUID, stop: threading.Event) -> None:
        state, reader = SchedulerState(self.limits), self.make_reader()
        self.places.begin_term()
        self.leadership.has_workers = True
        next_at: float | None = None
        pace = Pace(reader.clock.local())
        while not stop.is_set() and self.leadership.term == term:
            stop.wait(pace.pause_s(reader.clock.local()))
            try:
                self._receive(state, reader, next_at)
                begun = reader.clock.local()
                reader.read_due(state)
                planned = plan(state, reader.clock.now(), uuid4)
                next_at = planned.next_at
                self.propose(planned.groups)
                self.places.publish_idle(planned.is_idle)
                self.places.offer(state, reader.clock.now())
                self.on_pass(reader.clock.local() - begun)
                self.outages.succeeded(PROPOSE)
                self.leadership.has_workers = state.reach.has_workers
            except ServiceUnavailable:
                # Already logged, by the part that noticed it.
                stop.wait(OUTAGE_WAIT_S)
            except (redis.RedisError, dramatiq.BrokerError) as error:
                self.outages.failed(PROPOSE, meaning(error.__cause__ or error.__context__ or error))
                # Valkey may refuse the hints or a queue only.
                self.leadership.has_workers = False
                stop.wait(OUTAGE_WAIT_S)

    def _receive(self, state: SchedulerState, reader: Reader, next_at: float | None) -> None:
        """Take hints. Wait no longer than until another task is due."""
        wait_s = min(MAX_WAIT_S, reader.next_at() - reader.clock.local())
        if next_at is not None:
            wait_s = min(wait_s, next_at - reader.clock.now())
        for hint in self.hints.receive(wait_s):
            state.receive(hint, reader.clock.now())
            self.places.receive(hint)
