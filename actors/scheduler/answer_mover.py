"""Move the portal's answers about cases from rows into the bucket, while this process leads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from storage.errors import AttemptError, ServiceUnavailable
from storage.listings import case_answer
from storage.objects.object_store import Objects
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 2.0
# Seconds before the next attempt after a failure.
OUTAGE_WAIT_S = 30.0


@dataclass
class AnswerMover:
    """The dependencies of the mover. `is_leading`: whether this process moves answers now."""

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
            return INTERVAL_S
        try:
            moved = case_answer.move_to_bucket(self.database, self.objects)
        except (ServiceUnavailable, AttemptError) as error:
            # The bucket's refusals and outages have log lines of their own.
            log.debug("answers not moved", reason=error.reason)
            return OUTAGE_WAIT_S
        except Exception:
            log.exception("answers not moved")
            return OUTAGE_WAIT_S
        return 0.0 if moved == case_answer.BATCH else INTERVAL_S
