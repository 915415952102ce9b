"""The heartbeat of a worker process: from it the scheduler counts the slices that it can take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable
from storage.postgres.database import Database
from storage.scheduling import process_rows
from storage.spool import Spool

INTERVAL_S = 1.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


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
        while not self._stopped.wait(INTERVAL_S):
            self.beat()
