"""Notify watchers of jobs and their revisions over Redis pub/sub. A hint; the rows decide.

No function here raises or delays its caller. Without Redis, watchers poll and find the same
changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from uuid import UUID

import redis
import structlog

from storage.valkey import connect

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CHANNEL = "autos:changes"
TIMEOUT_S = 0.5
# Seconds without another Redis command after a failure.
QUIET_S = 2.0
# Changes within this time after a message go into one next message.
GATHER_S = 0.01
# The longer time, used after this many consecutive messages without a listener.
UNHEARD, UNHEARD_GATHER_S = 10, 0.05
# A thread without a change to publish for this long ends.
IDLE_S = 1.0


class ChangePublisher:
    """Publish changes from a thread of its own. Thread-safe. Open it after a fork."""

    def __init__(self, redis_url: str) -> None:
        self._client = connect(redis_url, timeout_s=TIMEOUT_S)
        self._lock = threading.Lock()
        self._has_news = threading.Event()
        self._news: dict[UUID, int] = {}
        self._is_running = False
        self._unheard = 0

    def announce(self, job_id: UUID, revision: int) -> None:
        """Publish that `job_id` has reached `revision`, at once or within the gathering time."""
        with self._lock:
            self._news[job_id] = max(revision, self._news.get(job_id, 0))
            if not self._is_running:
                self._is_running = self._start_thread()
        self._has_news.set()

    def _start_thread(self) -> bool:
        try:
            threading.Thread(target=self._run, name="wake-ups", daemon=True).start()
        except RuntimeError as error:
            # The machine has no room for it now. The caller has committed, and must not fail.
            log.warning("wake-ups not sent", error=str(error))
            return False
        return True

    def _run(self) -> None:
        self._unheard = 0
        while self._has_news.wait(IDLE_S) or not self._has_ended():
            self._has_news.clear()
            with self._lock:
                news, self._news = self._news, {}
            if news:
                time.sleep(self._safely_publish(news))

    def _safely_publish(self, news: dict[UUID, int]) -> float:
        try:
            return self._publish(news)
        except Exception:
            # Without this handler the thread would end and no other thread would replace it.
            log.exception("wake-ups not sent")
            return QUIET_S

    def _has_ended(self) -> bool:
        with self._lock:
            self._is_running = bool(self._news)
        return not self._is_running

    def _publish(self, news: dict[UUID, int]) -> float:
        """Publish the changes. Return the seconds until the next message."""
        published = ";".join(f"{job} {rev}" for job, rev in news.items())
        try:
            has_subscribers = self._client.publish(CHANNEL, published) > 0
        except redis.RedisError:
            return QUIET_S
        self._unheard = 0 if has_subscribers else self._unheard + 1
        return GATHER_S if self._unheard < UNHEARD else UNHEARD_GATHER_S


def parse_changes(message: str) -> Iterator[tuple[UUID, int]]:
    """Return the jobs and revisions of a message. Raises ValueError for an unknown format."""
    for change in message.split(";"):
        job_id, _, revision = change.partition(" ")
        yield UUID(job_id), int(revision)
