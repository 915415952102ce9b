"""Test the fallback: workers poll for work themselves while no scheduler proposes any."""

from __future__ import annotations

import threading
from collections.abc import Callable

from actors.runtime.fallback import FallbackPolling

DEADLINE_S = 60.0


class Work:
    """Pieces of work that scans find, with a count of those in progress."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.lock = threading.Lock()
        self.under_way = 0
        self.most = 0
        self.in_vain = 0
        self.all_begun = threading.Event()
        self.may_end = threading.Event()
        self.done = threading.Semaphore(0)
        self.was_vain = threading.Semaphore(0)

    def poll(self, found: Callable[[], None]) -> bool:
        """Claim a piece and work on it until the test lets it end."""
        with self.lock:
            if not self.left:
                self.in_vain += 1
                self.was_vain.release()
                return False
            self.left -= 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            if not self.left or self.under_way == 4:
                self.all_begun.set()
        found()
        assert self.may_end.wait(DEADLINE_S)
        with self.lock:
            self.under_way -= 1
        self.done.release()
        return True


def _started(work: Work, threads: int) -> FallbackPolling:
    polling = FallbackPolling(
        work.poll, threads=threads, name="poll", interval_s=0.01, idle_interval_s=0.05
    )
    polling.start()
    return polling


def test_a_scan_that_found_work_starts_another_thread_up_to_the_limit() -> None:
    work = Work(pieces=10)
    polling = _started(work, threads=4)

    assert work.all_begun.wait(DEADLINE_S)
    work.may_end.set()
    for _ in range(10):
        assert work.done.acquire(timeout=DEADLINE_S)
    polling.stop()

    assert work.most == 4


def test_after_the_work_is_done_one_thread_goes_on_looking() -> None:
    work = Work(pieces=3)
    work.may_end.set()
    polling = _started(work, threads=4)
    for _ in range(3):
        assert work.done.acquire(timeout=DEADLINE_S)

    for _ in range(6):
        assert work.was_vain.acquire(timeout=DEADLINE_S)
    with work.lock:
        work.left = 1
    assert work.done.acquire(timeout=DEADLINE_S)
    polling.stop()


def test_a_scan_that_fails_does_not_end_the_scans() -> None:
    seen = threading.Semaphore(0)

    def poll(_found: Callable[[], None]) -> bool:
        seen.release()
        raise ValueError("a bug")

    polling = FallbackPolling(poll, threads=2, name="poll", interval_s=0.01, idle_interval_s=0.01)
    polling.start()

    for _ in range(3):
        assert seen.acquire(timeout=DEADLINE_S)
    polling.stop()
