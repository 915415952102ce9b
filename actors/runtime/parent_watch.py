"""Ends a forked process when its master is gone.

A master that is killed cannot tell its processes to stop. They would go on without it, with the old
code after a deployment, and nothing would restart them. Each of them compares its parent with the
process that forked it, and stops itself in order: its leases are given back as on SIGTERM.
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
# How long an orderly stop may take, and how long Dramatiq waits for threads in it.
GRACE_S, THREADS_MS = 40.0, 25_000


class ParentWatch(dramatiq.Middleware):
    """Watches the master of a process from its boot on.

    The stop runs in the thread that watches: a master that is killed while it waits for the boot of
    a process leaves the main thread of that process in a lock that nothing frees.
    """

    def __init__(self) -> None:
        self._worker: dramatiq.Worker | None = None
        self._is_stopping = False

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Start the thread that watches."""
        threading.Thread(target=self._run, name="parent-watch", daemon=True).start()

    def before_worker_boot(self, _broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Remember what is to be stopped."""
        self._worker = worker

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Remember that the process stops already."""
        self._is_stopping = True

    def _run(self) -> None:
        while not _master_is_gone():
            time.sleep(INTERVAL_S)
        log.warning("master is gone; stopping")
        # If a thread hangs, its leases run out, and other processes take its work.
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

    The id of the master was taken before the fork, so one that ended since is noticed, too. Without
    a master (a test, `dramatiq` under another starter) there is nothing to watch.
    """
    master = multiprocessing.parent_process()
    return master is not None and os.getppid() != master.pid
