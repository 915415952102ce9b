"""Deletes, now and then, the objects and multipart uploads that no row names."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from storage import sweeps
from storage.database import Database
from storage.errors import ServiceUnavailable
from storage.objects import Objects

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MIN_INTERVAL_S = 5.0
MAX_INTERVAL_S = 3_600.0


@dataclass(frozen=True)
class Sweeper:
    """What sweeping needs. Any number of sweepers may run."""

    database: Database
    objects: Objects
    age_s: float

    def start(self, stop: threading.Event) -> None:
        """Sweeps from a thread of its own until `stop` is set: listing a bucket may take long."""
        threading.Thread(target=self._run, args=(stop,), name="sweeper", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        interval_s = min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, self.age_s / 4))
        while not stop.wait(interval_s):
            try:
                swept = sweeps.sweep(self.database, self.objects, age_s=self.age_s)
            except ServiceUnavailable as error:
                log.warning("sweep postponed", part=error.part)
            except Exception:
                log.exception("sweep failed")
            else:
                if swept:
                    log.info("objects without a row deleted", count=swept)
