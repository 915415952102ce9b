"""clock: every few seconds gives a sign of life to what should be moving and is not."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import redis
import structlog

from actors.enqueue import Messages
from storage import repairs, tasks, webhooks
from storage.database import Database
from storage.errors import ServiceUnavailable
from storage.portal.attempts import SPOOL_DEAD_S
from storage.tasks import Asking

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Gone when Redis was flushed or lost: then every message is sent again at once.
SENTINEL = "autos:sentinel"


@dataclass
class Clock:
    """What the clock needs. Any number of clocks may run."""

    database: Database
    redis: redis.Redis
    messages: Messages
    asking: Asking
    interval_s: float
    # For how long this clock itself must have seen a spool dead before it drops its queue.
    retire_after_s: float = SPOOL_DEAD_S
    _silent_since: dict[UUID, float] = field(default_factory=dict)
    # Until then nothing is taken back: holders could not renew either while PostgreSQL was away.
    _patient_until: float = 0.0

    def run(self, stop: threading.Event) -> None:
        """Passes until `stop` is set."""
        while not stop.is_set():
            try:
                self.tick()
            except ServiceUnavailable as error:
                log.warning("clock waits", part=error.part)
                self._be_patient()
            stop.wait(self.interval_s)

    def _be_patient(self) -> None:
        self._patient_until = time.monotonic() + self.asking.lease_s / 2

    def tick(self) -> None:
        """One pass over everything. Raises ServiceUnavailable."""
        self._see_whether_it_stands_still()
        for repair in (self._reclaim, self._end, self._mend, self._tell, self._retire):
            try:
                repair()
            except ServiceUnavailable:
                raise
            except Exception:
                # A bug in one repair must not stop the others for ever.
                log.exception("repair failed", repair=repair.__name__)

    def _see_whether_it_stands_still(self) -> None:
        """Whoever has to wait for PostgreSQL as we have cannot renew, though it never fails."""
        begun = time.monotonic()
        with self.database.single() as transaction:
            transaction.one("SELECT")
        if time.monotonic() - begun > self.asking.lease_s / 2:
            self._be_patient()

    def _reclaim(self) -> None:
        if time.monotonic() < self._patient_until:
            return
        for job_id in repairs.reclaim(self.database):
            log.warning("lost claims taken back", job_id=str(job_id))
            self.messages.download_lanes(job_id, self.asking.limits.lanes)

    def _end(self) -> None:
        ended = [*repairs.time_out(self.database), *repairs.finish_idle(self.database)]
        for job_id in ended:
            log.warning("job ended by the clock", job_id=str(job_id))
            self.messages.send_webhooks(job_id, webhooks.due(self.database, job_id))

    def _mend(self) -> None:
        wrong = repairs.mend_turns(self.database)
        if wrong:
            log.warning("turns mended", jobs=wrong)

    def _tell(self) -> None:
        try:
            # Also a proof that Redis takes writes: what is sent to one that does not is dropped,
            # while its row would say that it was told.
            is_redis_lost = not self.redis.set(SENTINEL, 1, xx=True)
        except redis.RedisError as error:
            log.warning("clock waits", part="Redis", error=type(error).__name__)
            return
        self._nudge(is_redis_lost=is_redis_lost)
        if is_redis_lost:
            self._mark_redis()

    def _nudge(self, *, is_redis_lost: bool) -> None:
        # Each message wakes a worker that then serves whoever's turn it is: more than there is room
        # for would find nothing to do.
        room = tasks.room(self.database, self.asking)
        stalled = repairs.stalled_jobs(
            self.database,
            lanes=self.asking.limits.lanes,
            can_ask=room > 0,
            is_redis_lost=is_redis_lost,
        )
        for job in stalled:
            lanes = min(room, job.lanes or int(job.needs_listing))
            room -= lanes
            log.info("job nudged", job_id=str(job.job_id), lanes=lanes)
            if job.needs_listing and lanes:
                self.messages.list_documents(job.job_id)
            elif lanes:
                self.messages.download_lanes(job.job_id, lanes)
            for document_id, lease, spool_id in job.uploads:
                self.messages.upload(spool_id, job.job_id, document_id, lease)
        for job_id, position in repairs.stalled_webhooks(
            self.database, is_redis_lost=is_redis_lost
        ):
            self.messages.send_webhooks(job_id, [position])

    def _retire(self) -> None:
        now = time.monotonic()
        # A heartbeat may be old because PostgreSQL was away, or because it was restored.
        self._silent_since = {
            spool_id: self._silent_since.get(spool_id, now)
            for spool_id in repairs.dead_spools(self.database)
        }
        for spool_id, since in self._silent_since.items():
            if since == now or now - since < self.retire_after_s:
                continue
            drop_queue = partial(self.messages.drop_uploads, spool_id)
            if repairs.retire_spool(self.database, spool_id, drop_queue):
                log.warning("dead spool retired", spool_id=str(spool_id))

    def _mark_redis(self) -> None:
        try:
            self.redis.set(SENTINEL, 1)
        except redis.RedisError as error:
            log.warning("clock cannot mark Redis", error=type(error).__name__)
