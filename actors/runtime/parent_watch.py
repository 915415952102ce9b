"""End a forked process when its master is gone.

A killed master cannot signal its processes. They would continue without it, with the old code after
a deployment, and no supervisor would restart them. Each of them compares its parent with the
process that forked it. If they differ, it stops in order: its leases are given back as on SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import dramatiq
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 0.5
# Seconds of an orderly stop, and milliseconds in it in which Dramatiq waits for threads.
GRACE_S, THREADS_MS = 40.0, 25_000


class ParentWatch(dramatiq.Middleware):
    """Watch the master of a process from its boot on.

    The stop runs in the thread that watches. A master that is killed while it waits for the boot of
    a process leaves the main thread of that process in a lock that is never released.
    """

    def __init__(self) -> None:
        self._worker: dramatiq.Worker | None = None
        self._is_stopping = False

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Start the thread that watches."""
        threading.Thread(target=self._run, name="parent-watch", daemon=True).start()

    def before_worker_boot(self, _broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Store the worker that must be stopped."""
        self._worker = worker

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Record that the process is stopping already."""
        self._is_stopping = True

    def _run(self) -> None:
        while not _master_is_gone():
            time.sleep(INTERVAL_S)
        log.warning("master is gone; stopping")
        # If a thread hangs, its leases expire, and other processes take its work.
        threading.Timer(GRACE_S, os._exit, (1,)).start()
        if self._is_stopping:
            return
        try:
            if self._worker is not None:
                self._worker.stop(timeout=THREADS_MS)
        finally:
            os._exit(0)


def _master_is_gone() -> bool:
    """Return whether the process that forked this one has ended.

    The id of the master was taken before the fork, so an end since then is noticed, too. Without a
    master (a test, `dramatiq` under another starter) there is nothing to watch.
    """
    master = multiprocessing.parent_process()
    return master is not None and os.getppid() != master.pid
