"""Repairs by the leader, after crashes and for work that no other process does in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import redis
import structlog

from actors.messaging.enqueuer import Enqueuer
from actors.pipeline.job_end import JobEnds
from storage.errors import ServiceUnavailable
from storage.events import event_log
from storage.portal import case_budget
from storage.portal.attempts import SPOOL_DEAD_S
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.webhooks import webhook_tests

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Missing after a flush or a loss of Valkey: then all messages that rows wait for are sent again.
SENTINEL = "autos:sentinel"
DELETION_INTERVAL_S = 600.0


@dataclass
class Repairs:
    """The dependencies of repairs. Every repair is a conditional write, so two leaders do no harm.

    `is_leading`: whether this process repairs now. `retire_after_s`: seconds for which this process
    itself must find a spool dead before it drops its queue. `monotonic`: seconds.
    """

    database: Database
    redis: redis.Redis
    messages: Enqueuer
    ends: JobEnds
    is_leading: Callable[[], bool]
    lease_s: float
    interval_s: float
    event_age_s: float
    retire_after_s: float = SPOOL_DEAD_S
    monotonic: Callable[[], float] = time.monotonic
    _silent_since: dict[UUID, float] = field(default_factory=dict)
    _suspended_until: float = 0.0
    _is_leader: bool = False
    _next_deletion: float = 0.0

    def start(self, stop: threading.Event) -> None:
        """Repair in a thread of its own until `stop` is set."""
        threading.Thread(target=self._run, args=(stop,), name="repairs", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.repair_if_leading()
            stop.wait(self.interval_s)

    def repair_if_leading(self) -> None:
        """Make one pass if this process leads. Failures are logged, never raised."""
        try:
            self._repair_if_leading()
        except ServiceUnavailable as error:
            # The part's own line has the cause, once.
            log.debug("repairs wait", part=error.part)
            self._suspend_reclaim()
        except Exception:
            log.exception("repairs failed")

    def _repair_if_leading(self) -> None:
        was_leader, self._is_leader = self._is_leader, self.is_leading()
        if not self._is_leader:
            self._silent_since = {}
            return
        if not was_leader:
            # Holders that could not renew while no scheduler led may renew first.
            self._suspend_reclaim()
        self.repair()

    def _suspend_reclaim(self) -> None:
        """Take back no claims for half a lease: holders could not renew meanwhile either."""
        self._suspended_until = self.monotonic() + self.lease_s / 2

    def repair(self) -> None:
        """Make one pass over everything. Raises ServiceUnavailable."""
        self._check_database_stall()
        for repair in (
            self._reclaim,
            self._end_jobs,
            self._send_webhooks,
            self._retire_spools,
            self._delete_old,
        ):
            try:
                repair()
            except ServiceUnavailable:
                raise
            except Exception:
                # A defect in one repair must not stop the others for ever.
                log.exception("repair failed", repair=repair.__name__)

    def _check_database_stall(self) -> None:
        begun = self.monotonic()
        reconciliation.ping(self.database)
        if self.monotonic() - begun > self.lease_s / 2:
            self._suspend_reclaim()

    def _reclaim(self) -> None:
        if self.monotonic() < self._suspended_until:
            return
        for job_id in reconciliation.reclaim(self.database):
            log.warning("lost claims taken back", job_id=str(job_id))

    def _end_jobs(self) -> None:
        timed_out = reconciliation.time_out(self.database)
        for job_id in timed_out:
            self.ends.hints.halt(str(job_id))
        for job_id in [*timed_out, *reconciliation.finish_idle(self.database)]:
            log.warning("job ended by the scheduler", job_id=str(job_id))
            self.ends.publish(job_id)

    def _send_webhooks(self) -> None:
        try:
            # This also proves that Valkey accepts writes. Otherwise a message would be lost while
            # its row records that it was sent.
            is_valkey_lost = not self.redis.set(SENTINEL, 1, xx=True)
        except redis.RedisError as error:
            # The loop of the same process logs the outage.
            log.debug("repairs wait", part="Valkey", error=type(error).__name__)
            return
        for job_id, position in reconciliation.stalled_webhooks(
            self.database, is_redis_lost=is_valkey_lost
        ):
            self.messages.send_webhooks(job_id, [position])
        if is_valkey_lost:
            self._mark_valkey()

    def _mark_valkey(self) -> None:
        try:
            self.redis.set(SENTINEL, 1)
        except redis.RedisError as error:
            log.debug("Valkey not marked", error=type(error).__name__)

    def _delete_old(self) -> None:
        if self.monotonic() < self._next_deletion:
            return
        webhook_tests.delete_old(self.database)
        cases = case_budget.delete_old(self.database)
        deleted = event_log.delete_old(self.database, age_s=self.event_age_s)
        if deleted:
            log.info("old events deleted", count=deleted)
        if deleted < event_log.BATCH and cases < case_budget.BATCH:
            self._next_deletion = self.monotonic() + DELETION_INTERVAL_S

    def _retire_spools(self) -> None:
        now = self.monotonic()
        # A heartbeat may be old because PostgreSQL was unavailable or restored.
        self._silent_since = {
            spool_id: self._silent_since.get(spool_id, now)
            for spool_id in reconciliation.dead_spools(self.database)
        }
        for spool_id, since in self._silent_since.items():
            if since == now or now - since < self.retire_after_s:
                continue
            drop_queue = partial(self.messages.purge_upload_queue, spool_id)
            if reconciliation.retire_spool(self.database, spool_id, drop_queue):
                log.warning("dead spool retired", spool_id=str(spool_id))
