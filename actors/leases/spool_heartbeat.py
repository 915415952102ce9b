"""The sign of life of a spool, and the sweeping of what nobody owns there."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable
from storage.objects import installation
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEAT_S = 5.0
# A file younger than this may belong to a claim that is being written down right now.
LEFTOVER_AGE_S = 60.0
FOREIGN = (
    "The spool's folder belongs to another installation: set SPOOL_DIR to a folder of this"
    " installation's own."
)
UNKNOWN = (
    "The spool's folder holds files that no row names, and no installation is named in it: set"
    " SPOOL_DIR to a folder of this installation's own, or empty this one."
)


class Heartbeat:
    """Beats while its process lives. Several uploaders of one spool may."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._logged_problem = ""
        # What no row named when the sweep before looked.
        self._suspects: set[UUID] = set()

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
        try:
            trouble = self._spool.trouble() or self._foreign()
            if trouble != self._logged_problem:
                log.warning("spool", trouble=trouble or "over")
                self._logged_problem = trouble
            reconciliation.record_heartbeat(self._database, self._spool.spool_id, trouble)
        except ServiceUnavailable as error:
            log.warning("no heartbeat", part=error.part)

    def _foreign(self) -> str:
        """Why the files are not this installation's; empty if they are.

        A folder without a name is taken if it is empty, or if a row names one of its files.
        """
        row = installation.read(self._database)
        if row is None:
            # Nothing is swept before `release` has run.
            return ""
        if not self._spool.owner():
            there = [*self._spool.leases(older_than_s=0, now=time.time())]
            if there and len(reconciliation.orphaned_tokens(self._database, there)) == len(there):
                return UNKNOWN
            self._spool.take(row.installation_id)
        return "" if self._spool.owner() == str(row.installation_id) else FOREIGN

    def sweep(self) -> None:
        """Deletes the spool files that no row names, and did not name a sweep ago."""
        old = self._spool.leases(older_than_s=LEFTOVER_AGE_S, now=time.time())
        suspects, self._suspects = self._suspects, set()
        if not old:
            return
        try:
            if not self._may_sweep():
                return
            unowned = reconciliation.orphaned_tokens(self._database, list(old))
        except ServiceUnavailable:
            return
        self._suspects = unowned - suspects
        for lease in unowned & suspects:
            log.info("leftover removed from the spool", lease=str(lease))
            old[lease].unlink(missing_ok=True)

    def _may_sweep(self) -> bool:
        row = installation.read(self._database)
        is_ours = row is not None and self._spool.owner() == str(row.installation_id)
        # A database that does not belong to its bucket may not know the files either.
        return is_ours and row is not None and not row.bucket_trouble
