"""The sign of life of a spool, and the sweeping of what nobody owns there."""

from __future__ import annotations

import threading
import time

import structlog

from storage import repairs
from storage.database import Database
from storage.errors import ServiceUnavailable
from storage.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEAT_S = 5.0
# A file younger than this may belong to a claim that is being written down right now.
LEFTOVER_AGE_S = 60.0


class Heartbeat:
    """Beats while its process lives. Several uploaders of one spool may."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._told = ""

    def start(self) -> None:
        """Beats once, then from a thread of its own."""
        self.beat()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.beat()
                self.sweep()
            except Exception:
                # Without a beat the spool would count as dead: never stop for a bug.
                log.exception("heartbeat failed")

    def beat(self) -> None:
        """Says once that the spool is alive, and why it takes no more files, if so."""
        trouble = self._spool.trouble()
        if trouble != self._told:
            log.warning("spool", trouble=trouble or "over")
            self._told = trouble
        try:
            repairs.beat(self._database, self._spool.spool_id, trouble)
        except ServiceUnavailable as error:
            log.warning("no heartbeat", part=error.part)

    def sweep(self) -> None:
        """Deletes the spool files that no row names."""
        old = self._spool.leases(older_than_s=LEFTOVER_AGE_S, now=time.time())
        if not old:
            return
        try:
            unowned = repairs.unowned(self._database, list(old))
        except ServiceUnavailable:
            return
        for lease in unowned:
            log.info("leftover removed from the spool", lease=str(lease))
            old[lease].unlink(missing_ok=True)
