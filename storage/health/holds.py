"""Holds: why running jobs are not served now, from rows: pause, login, refusals, courts, budget."""

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
from storage.login import login_blocks
from storage.login.login_values import Login
from storage.models import Court, Document, Job, PortalThrottle
from storage.models.base import is_any
from storage.portal import case_budget
from storage.portal.case_budget import NO_BUDGET, CaseBudget
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
    the jobs of these courts that need a portal request. `clients`: the same as `portal`, for the
    jobs of one client; as `courts`, for its jobs of the court. Their keys are the client and the
    court, None for all.

    `budget_ends`: when the used up budgets of cases have a place again, by `Job.budget_scope`; None
    if no job waits for one. `now`: of the reading.
    """

    portal: Hold | None = None
    store: Hold | None = None
    courts: Mapping[str, Hold] = field(default_factory=dict)
    clients: Mapping[tuple[str, str | None], Hold] = field(default_factory=dict)
    budget_ends: Mapping[str, datetime] | None = None
    now: datetime = datetime.min

    def of(self, court: str, client: str | None) -> Hold | None:
        """Return the hold of a job that needs a portal request. `client`: None if unknown."""
        of_client = self.clients.get((client, None)) if client is not None else None
        at_court = self.clients.get((client, court)) if client is not None else None
        return self.portal or of_client or self.store or self.courts.get(court) or at_court

    def of_budget(self, scope: str, court: str) -> Hold:
        """Return the hold of a job that waits for the budget of cases of this scope."""
        ends = self.budget_ends or {}
        until = max(ends.get("", self.now), ends.get(court, self.now), self.now)
        whose = f"The budget of court {scope}" if scope else "The budget of all courts"
        return Hold(
            "CASE_BUDGET",
            f"{whose} for different cases is used up. Autos goes on when it has a place again.",
            until,
        )


class Holds:
    """The holds of jobs, for any number of callers. Thread-safe; never raises.

    `clock`: monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        login: Login,
        budget: CaseBudget = NO_BUDGET,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._login = login
        self._budget = budget
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
        clients = self._clients(list(courts)) if causes.clients else {}
        found = {
            job_id: hold
            for job_id, court in courts.items()
            if (hold := causes.of(court, clients.get(job_id)))
        }
        if causes.budget_ends is not None:
            for job_id, scope in self._over_budget(list(courts)).items():
                found.setdefault(job_id, causes.of_budget(scope, courts[job_id]))
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
            with self._database.autocommit() as transaction:
                return _causes(transaction, self._login, self._budget)
        except ServiceUnavailable:
            log.warning("holds not read")
            return _Causes()

    def _clients(self, job_ids: list[UUID]) -> dict[UUID, str]:
        """Return the clients of the jobs; none without PostgreSQL."""
        return self._values(Job.select(Job.job_id, Job.client).where(is_any(Job.job_id, job_ids)))

    def _over_budget(self, job_ids: list[UUID]) -> dict[UUID, str]:
        """Return the budgets for which jobs wait; none without PostgreSQL."""
        return self._values(
            Job.select(Job.job_id, Job.budget_scope).where(
                is_any(Job.job_id, job_ids), case_budget.WAITS
            )
        )

    def _values(self, query: Any) -> dict[UUID, str]:
        try:
            with self._database.autocommit() as transaction:
                return dict(transaction.fetch(query.tuples()))
        except ServiceUnavailable:
            return {}

    def _wanting_nothing(self, job_ids: list[UUID]) -> list[UUID]:
        """Return those of the jobs in which every document is fetched or has ended."""
        if not job_ids:
            return []
        try:
            with self._database.autocommit() as transaction:
                return [row["job_id"] for row in transaction.fetch(_fetched(job_ids))]
        except ServiceUnavailable:
            return job_ids


def _causes(transaction: Transaction, login: Login, budget: CaseBudget) -> _Causes:
    now = transaction.now()
    refusal = transaction.fetch_one(refusals.holds())
    pause = transaction.fetch_one(
        PortalThrottle.select(PortalThrottle.paused_until, PortalThrottle.paused_client)
        .where(PortalThrottle.paused_until > fn.clock_timestamp())
        .dicts()
    )
    away = transaction.fetch(
        Court.select(Court.court, Court.next_probe_time, Court.failing_client)
        .where(Court.next_probe_time.is_null(False))
        .dicts()
    )
    store = _store_hold(refusal["store_code"])
    # By the client that is stopped alone, None for all.
    paused = {row["paused_client"]: _pause_hold(row["paused_until"]) for row in [pause] if row}
    login_held = _login_hold(transaction, login)
    courts = {(row["failing_client"], row["court"]): _court_hold(row, now) for row in away}
    stopped = {**paused, **login_held}
    return _Causes(
        portal=login_held.get(None)
        or _certificate_hold(refusal["untrusted"], pause["paused_until"] if pause else None)
        or store
        or paused.get(None),
        store=store,
        courts={court: hold for (client, court), hold in courts.items() if client is None},
        clients={(client, None): hold for client, hold in stopped.items() if client is not None}
        | {(client, court): hold for (client, court), hold in courts.items() if client is not None},
        budget_ends=case_budget.ends(transaction, budget)
        if case_budget.is_waited_for(transaction)
        else None,
        now=now,
    )


def _pause_hold(until_time: datetime) -> Hold:
    return Hold("PORTAL_PAUSED", "The portal asked for a pause.", until_time)


def _login_hold(transaction: Transaction, login: Login) -> dict[str | None, Hold]:
    """Return the hold by the client that it stops, None for all; empty if there is none."""
    refused = login_blocks.hold(transaction, login)
    if refused is None:
        return {}
    hold = Hold(
        "CREDENTIALS_REFUSED",
        "The portal refuses the credentials. Autos tries again when they change, or later.",
        refused.until_time,
    )
    return {refused.client: hold}


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
    in_spool = Document.select(fn.count(Document.document_id)).where(
        Document.job_id == Job.job_id, Document.state == DocumentState.DOWNLOADED
    )
    return (
        Job.select(Job.job_id)
        .where(Job.job_id.in_(job_ids), Job.documents_left() <= in_spool)
        .dicts()
    )
