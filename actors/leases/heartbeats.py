"""The heartbeats of a spool and of a worker process, and the sweep of files without a row.

From those of the workers the scheduler counts the slices that they can take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable
from storage.objects import installation
from storage.postgres.database import Database
from storage.scheduling import process_rows, reconciliation
from storage.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEAT_S = 5.0
# A younger file may belong to a claim that is being recorded now.
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
    """Send heartbeats while the process lives. Several uploaders of one spool may."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool
        self._logged_problem = ""
        # Files without a row at the previous sweep.
        self._suspects: set[UUID] = set()

    def start(self) -> None:
        """Send one heartbeat, then further ones from a thread of its own."""
        self.beat()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                self.beat()
                self.sweep()
            except Exception:
                # Without a heartbeat the spool would count as dead, so a defect must not stop it.
                log.exception("heartbeat failed")

    def beat(self) -> None:
        """Record once that the spool is alive and, if so, why it accepts no more files."""
        try:
            trouble = self._spool.trouble() or self._safely_foreign()
            if trouble != self._logged_problem:
                log.warning("spool", trouble=trouble or "over")
                self._logged_problem = trouble
            reconciliation.record_heartbeat(self._database, self._spool.spool_id, trouble)
        except ServiceUnavailable as error:
            # The outage itself is logged once; a line for each heartbeat would bury it.
            log.debug("no heartbeat", part=error.part)

    def _safely_foreign(self) -> str:
        try:
            return self._foreign()
        except OSError as error:
            # Without a heartbeat the files would be taken back and requested again.
            return f"The folder of the spool cannot be used: {error.strerror}."

    def _foreign(self) -> str:
        """Return why the files are not this installation's; empty if they are.

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
        """Delete the spool files that no row names now, and no row named at the previous sweep."""
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
            self._spool.remove(lease)
            if not old[lease].exists():
                log.info("leftover removed from the spool", lease=str(lease))

    def _may_sweep(self) -> bool:
        row = installation.read(self._database)
        is_ours = row is not None and self._spool.owner() == str(row.installation_id)
        # A database that does not belong to its bucket may lack the rows of the files, too.
        return is_ours and row is not None and not row.bucket_trouble


WORKER_BEAT_S = 1.0


class WorkerHeartbeat:
    """Send heartbeats from a thread of its own while the process lives."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        worker_id: UUID,
        threads: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._spool = spool
        self._worker_id = worker_id
        self._threads = threads
        self._is_stopping = is_stopping
        self._stopped = threading.Event()

    def start(self) -> None:
        """Send one heartbeat, then further ones at intervals."""
        self.beat()
        threading.Thread(target=self._run, name="worker-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Delete the heartbeat: this process takes no more proposals."""
        self._stopped.set()
        try:
            process_rows.leave(self._database, self._worker_id)
        except ServiceUnavailable:
            log.info("heartbeat not deleted; it runs out")

    def beat(self) -> None:
        """Record once that this process is alive."""
        try:
            process_rows.beat(
                self._database,
                self._worker_id,
                threads=0 if self._is_stopping() else self._threads,
                takes_files=not self._spool.trouble(),
            )
        except ServiceUnavailable as error:
            log.debug("no heartbeat", part=error.part)
        except Exception:
            log.exception("heartbeat failed")

    def _run(self) -> None:
        while not self._stopped.wait(WORKER_BEAT_S):
            self.beat()
