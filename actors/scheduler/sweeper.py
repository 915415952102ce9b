"""The work of the scheduler at the bucket: delete objects without a row, move answers into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from storage.errors import AttemptError, ServiceUnavailable
from storage.event_counters import OBJECTS_SWEPT
from storage.listings import case_answer
from storage.objects import installation, sweeps
from storage.objects.object_store import Objects
from storage.objects.sweeps import Swept
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MIN_INTERVAL_S = 5.0
MAX_INTERVAL_S = 3_600.0
BEAT_S = 60.0
# Between two moves of answers, in seconds: usually, and after a failure.
MOVE_INTERVAL_S, OUTAGE_WAIT_S = 2.0, 30.0


@dataclass
class Sweeper:
    """The dependencies of a sweeper. Any number of sweepers may run.

    `age_s`: the age in seconds from which on an object may go; None: no sweep runs.
    """

    database: Database
    objects: Objects
    age_s: float | None
    _logged_trouble: str = ""
    _logged_spared: int = 0
    _next_sweep: float = 0.0

    def start(self, stop: threading.Event) -> None:
        """Work in a thread of its own until `stop` is set: the listing of a bucket may be slow."""
        # Shown as 0 from the start: Prometheus sees no increase in a counter that begins at 1.
        self.database.counted(OBJECTS_SWEPT, by=0)
        threading.Thread(target=self._run, args=(stop,), name="sweeper", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        self._next_sweep = time.monotonic() + self._interval_s
        wait_s = 0.0
        while not stop.wait(wait_s):
            wait_s = min(BEAT_S, self._interval_s)
            try:
                self.look()
            except ServiceUnavailable as error:
                # The part's own line has the cause, once.
                log.debug("sweep postponed", part=error.part)
            except Exception:
                log.exception("sweep failed")

    @property
    def _interval_s(self) -> float:
        if self.age_s is None:
            return MAX_INTERVAL_S
        return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, self.age_s / 4))

    def look(self) -> None:
        """Compare database and bucket, and sweep if it is time. Raises ServiceUnavailable."""
        if trouble := installation.beat(self.database, self.objects):
            self._log(Swept(trouble=trouble))
            return
        if self.age_s is None:
            self._log(Swept())
            return
        if time.monotonic() < self._next_sweep:
            return
        # Objects that one sweep names must not go in the next one of another scheduler soon after.
        rest_s = self._interval_s / 2
        self._next_sweep = time.monotonic() + self._interval_s
        self._log(sweeps.sweep(self.database, self.objects, age_s=self.age_s, rest_s=rest_s))

    def _log(self, swept: Swept) -> None:
        if swept.deleted:
            log.info("objects without a row deleted", count=swept.deleted)
        if swept.spared and swept.spared != self._logged_spared:
            log.info("objects older than the adoption of the bucket stay", count=swept.spared)
        self._logged_spared = swept.spared or self._logged_spared
        if swept.trouble != self._logged_trouble:
            log.warning("nothing is deleted from the bucket", trouble=swept.trouble or "over")
        self._logged_trouble = swept.trouble


@dataclass
class AnswerMover:
    """Moves the portal's answers about cases from rows into the bucket.

    `is_leading`: whether this process moves answers now.
    """

    database: Database
    objects: Objects
    is_leading: Callable[[], bool]

    def start(self, stop: threading.Event) -> None:
        """Work in a thread of its own until `stop` is set: the bucket may be slow."""
        threading.Thread(target=self._run, args=(stop,), name="answers", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self.move()):
            pass

    def move(self) -> float:
        """Move some answers if this process leads. Return the seconds before the next attempt."""
        if not self.is_leading():
            return MOVE_INTERVAL_S
        try:
            moved = case_answer.move_to_bucket(self.database, self.objects)
        except (ServiceUnavailable, AttemptError) as error:
            # The bucket's refusals and outages have log lines of their own.
            log.debug("answers not moved", reason=error.reason)
            return OUTAGE_WAIT_S
        except Exception:
            log.exception("answers not moved")
            return OUTAGE_WAIT_S
        return 0.0 if moved == case_answer.BATCH else MOVE_INTERVAL_S
