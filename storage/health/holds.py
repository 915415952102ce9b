"""Holds: why running jobs are not served now, from rows: pause, login, refusals, courts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from peewee import fn

from storage import refusals
from storage.errors import ServiceUnavailable
from storage.login import logins
from storage.login.logins import Login
from storage.models import Court, Document, Job, PortalThrottle
from storage.postgres.database import Database, Transaction
from storage.states import DocumentState

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Seconds for which the read values are used.
REFRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job is not served now. `message` is a text for people."""

    reason: str
    message: str
    until_time: datetime | None


@dataclass(frozen=True, slots=True)
class _Causes:
    """The causes of holds.

    `portal`: holds every job that needs a portal request. `store`: holds every job. `courts`: hold
    the jobs of these courts that need a portal request.
    """

    portal: Hold | None = None
    store: Hold | None = None
    courts: Mapping[str, Hold] = field(default_factory=dict)

    def of(self, court: str) -> Hold | None:
        """Return the hold of a job that needs a portal request."""
        return self.portal or self.store or self.courts.get(court)


class Holds:
    """The holds of jobs, for any number of callers. Thread-safe; never raises.

    `clock`: monotonic seconds.
    """

    def __init__(
        self, database: Database, login: Login, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._login = login
        self._clock = clock
        self._refreshing = threading.Lock()
        self._causes = _Causes()
        self._refreshed_at = float("-inf")

    def of(self, courts: Mapping[UUID, str]) -> dict[UUID, Hold]:
        """Return the hold of each running job that is held; none without PostgreSQL.

        `courts`: the jobs with their courts.
        """
        if not courts:
            return {}
        causes = self._refreshed()
        found = {job_id: hold for job_id, court in courts.items() if (hold := causes.of(court))}
        # A hold of the bucket also concerns jobs without portal requests.
        only_portal = [job_id for job_id, hold in found.items() if hold is not causes.store]
        for job_id in self._wanting_nothing(only_portal):
            del found[job_id]
            if causes.store is not None:
                found[job_id] = causes.store
        return found

    def _refreshed(self) -> _Causes:
        # If another thread is reading, use the previous values, if there are any.
        has_read = self._refreshed_at > float("-inf")
        if self._is_due() and self._refreshing.acquire(blocking=not has_read):
            try:
                if self._is_due():
                    self._causes = self._read()
                    self._refreshed_at = self._clock()
            finally:
                self._refreshing.release()
        return self._causes

    def _is_due(self) -> bool:
        return self._clock() - self._refreshed_at >= REFRESH_S

    def _read(self) -> _Causes:
        try:
            with self._database.transaction() as transaction:
                return _causes(transaction, self._login)
        except ServiceUnavailable:
            log.warning("holds not read")
            return _Causes()

    def _wanting_nothing(self, job_ids: list[UUID]) -> list[UUID]:
        """Return those of the jobs in which every document is fetched or has ended."""
        if not job_ids:
            return []
        try:
            with self._database.single() as transaction:
                return [row["job_id"] for row in transaction.fetch(_fetched(job_ids))]
        except ServiceUnavailable:
            return job_ids


def _causes(transaction: Transaction, login: Login) -> _Causes:
    now = transaction.now()
    refusal = transaction.fetch_one(refusals.holds())
    paused_until = transaction.fetch_one(
        PortalThrottle.select(fn.max(PortalThrottle.paused_until).alias("until"))
        .where(PortalThrottle.paused_until > fn.clock_timestamp())
        .dicts()
    )["until"]
    away = transaction.fetch(
        Court.select(Court.court, Court.next_probe_time)
        .where(Court.next_probe_time.is_null(False))
        .dicts()
    )
    store = _store_hold(refusal["store_code"])
    paused = Hold("PORTAL_PAUSED", "The portal asked for a pause.", paused_until)
    return _Causes(
        portal=_login_hold(transaction, login)
        or _certificate_hold(refusal["untrusted"], paused_until)
        or store
        or (paused if paused_until else None),
        store=store,
        courts={row["court"]: _court_hold(row, now) for row in away},
    )


def _login_hold(transaction: Transaction, login: Login) -> Hold | None:
    refused = logins.hold(transaction, login)
    if refused is None:
        return None
    return Hold(
        "CREDENTIALS_REFUSED",
        "The portal refuses the credentials. Autos tries again when they change, or later.",
        refused.until_time,
    )


def _certificate_hold(is_untrusted: bool, paused_until: datetime | None) -> Hold | None:
    if not is_untrusted:
        return None
    return Hold(
        "PORTAL_UNTRUSTED",
        "The portal's certificate is not trusted. Autos tries again until it is.",
        paused_until,
    )


def _store_hold(code: str | None) -> Hold | None:
    """Return the hold of fetched files that the bucket refuses."""
    if code is None:
        return None
    return Hold("STORE_REFUSED", f"The bucket refuses files ({code}). Autos tries again.", None)


def _court_hold(row: dict[str, Any], now: datetime) -> Hold:
    return Hold(
        "COURT_AWAY",
        f"Court {row['court']} does not answer at the portal. Autos probes it until it does.",
        max(row["next_probe_time"], now),
    )


def _fetched(job_ids: list[UUID]) -> Any:
    left = (
        Job.total_documents
        - Job.completed_documents
        - Job.failed_documents
        - Job.cancelled_documents
    )
    in_spool = Document.select(fn.count(Document.document_id)).where(
        Document.job_id == Job.job_id, Document.state == DocumentState.DOWNLOADED
    )
    return Job.select(Job.job_id).where(Job.job_id.in_(job_ids), left <= in_spool).dicts()
