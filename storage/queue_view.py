"""The queue as callers see it: place, estimated end and hold of each running job.

One look at all running jobs serves everybody who asks within LOOK_S; nobody asks, nobody looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple
from uuid import UUID

import structlog

from storage import refusals
from storage.database import Database, Row, Transaction, in_list
from storage.errors import ServiceUnavailable
from storage.forecast import ASSUMED_DOCUMENTS, Outlook, RunningJob, forecast
from storage.logins import IS_REFUSED, Login
from storage.request_times import NOTHING_MEASURED, Measured, expected_s
from storage.slots import Limits
from storage.states import JOB_RUNNING, DocumentState

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S = 2.0
# From so many listed cases on, a case that is not listed yet is taken for one of them.
ENOUGH_CASES = 5

_JOBS = f"""
SELECT jobs.job_id, jobs.client, jobs.court, total_documents,
    completed_documents + failed_documents + cancelled_documents AS over,
    coalesce(listing_lease_until >= clock_timestamp(), false) AS is_listing,
    coalesce(downloading, 0) AS downloading, coalesce(downloaded, 0) AS downloaded,
    jobs.priority = 'BULK' AS is_bulk,
    CASE jobs.priority WHEN 'HIGH' THEN 4 ELSE 1 END AS weight,
    0::double precision AS turn_pass, 0::double precision AS client_pass,
    next_probe_time
FROM jobs
LEFT JOIN courts ON courts.court = jobs.court
LEFT JOIN (
    SELECT job_id, count(*) FILTER (WHERE state = '{DocumentState.DOWNLOADING}') AS downloading,
        count(*) FILTER (WHERE state = '{DocumentState.DOWNLOADED}') AS downloaded
    FROM documents WHERE state IN ('{DocumentState.DOWNLOADING}', '{DocumentState.DOWNLOADED}')
    GROUP BY job_id) AS lanes ON lanes.job_id = jobs.job_id
WHERE jobs.state IN ({in_list(sorted(JOB_RUNNING))})
ORDER BY jobs.priority = 'HIGH' DESC, coalesce(rerun_time, create_time), jobs.job_id
"""

_COURTS = """
SELECT court, request_s, measured_requests, coalesce(under_way_s, 0) AS under_way_s
FROM courts LEFT JOIN (
    SELECT scope, sum(greatest(0, extract(epoch FROM clock_timestamp() - taken_time)))
        ::double precision AS under_way_s
    FROM slots WHERE lease_until >= clock_timestamp() GROUP BY scope) AS slots ON scope = court
"""

_PORTAL = f"""
SELECT clock_timestamp() AS now,
    (SELECT max(paused_until) FROM portal WHERE paused_until > clock_timestamp()) AS paused_until,
    (SELECT refused_until FROM logins WHERE login_key = %(login_key)s AND {IS_REFUSED})
        AS refused_until
"""


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps a job from being served right now. `message` is for people."""

    reason: str
    message: str
    until_time: datetime | None


class Place(NamedTuple):
    """Where a running job stands; None where there is nothing to be told."""

    queue_position: int | None = None
    estimated_end_time: datetime | None = None
    hold: Hold | None = None


NOWHERE = Place()


class QueueView:
    """The queue of a moment ago, for any number of callers. Thread-safe.

    `clock`: seconds that only grow.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits,
        login: Login,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._limits = limits
        self._login = login
        self._clock = clock
        self._looking = threading.Lock()
        self._places: Mapping[UUID, Place] = {}
        self._looked = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether what was seen last is good enough: it is young, or somebody looks already."""
        is_young = self._clock() - self._looked < LOOK_S
        return is_young or (self._looking.locked() and self.has_looked)

    @property
    def has_looked(self) -> bool:
        """Whether anything was seen so far."""
        return self._looked > float("-inf")

    @property
    def looked(self) -> float:
        """When it looked last; other than before when there may be something else to see."""
        return self._looked

    def renew(self, age_s: float = LOOK_S) -> None:
        """Looks, unless what was seen last is younger than `age_s` seconds. Never raises."""
        if self._clock() - self._looked >= age_s:
            self._look_once(age_s)

    def places(self, job_ids: Iterable[UUID]) -> dict[UUID, Place]:
        """Where each of these jobs stands, which run; one that is not known yet is NOWHERE.

        Never raises: without PostgreSQL all are NOWHERE.
        """
        wanted = list(job_ids)
        if wanted:
            self.renew()
        return self.seen(wanted)

    def seen(self, job_ids: Iterable[UUID]) -> dict[UUID, Place]:
        """The same as it was seen last, without looking: for who may not wait."""
        places = self._places
        return {job_id: places.get(job_id, NOWHERE) for job_id in job_ids}

    def _look_once(self, age_s: float) -> None:
        # Who finds somebody looking takes what was seen before, if anything was.
        if not self._looking.acquire(blocking=not self.has_looked):
            return
        try:
            if self._clock() - self._looked >= age_s:
                self._places = self._look()
                self._looked = self._clock()
        finally:
            self._looking.release()

    def _look(self) -> Mapping[UUID, Place]:
        try:
            with self._database.transaction() as transaction:
                portal = _portal(transaction, self._login)
                portal |= transaction.fetch_one(refusals.holds())
                jobs, courts = transaction.all(_JOBS), transaction.all(_COURTS)
        except ServiceUnavailable:
            log.warning("queue not seen")
            return {}
        return _places_of(jobs, courts, portal, self._limits)


def _portal(transaction: Transaction, login: Login) -> Row:
    return transaction.only(_PORTAL, login_key=login.key, fingerprint=login.fingerprint)


def _places_of(
    rows: list[Row], courts: list[Row], portal: Row, limits: Limits
) -> dict[UUID, Place]:
    totals = [row["total_documents"] for row in rows if row["total_documents"] is not None]
    outlooks = forecast(
        [_running(row) for row in rows],
        limits,
        expected_s({row["court"]: NOTHING_MEASURED for row in rows} | _measured(courts)),
        held_courts={row["court"] for row in rows if row["next_probe_time"] is not None},
        assumed_documents=int(median(totals)) if len(totals) >= ENOUGH_CASES else ASSUMED_DOCUMENTS,
    )
    return {row["job_id"]: _place(row, portal, outlooks[row["job_id"]]) for row in rows}


def _measured(courts: list[Row]) -> dict[str, Measured]:
    return {
        row["court"]: Measured(row["request_s"], row["measured_requests"], row["under_way_s"])
        for row in courts
    }


def _running(row: Row) -> RunningJob:
    return RunningJob(
        job_id=row["job_id"],
        client=row["client"],
        court=row["court"],
        is_bulk=row["is_bulk"],
        weight=row["weight"],
        turn_pass=row["turn_pass"],
        client_pass=row["client_pass"],
        documents_left=_documents_left(row),
        requests_under_way=row["downloading"] + row["is_listing"],
    )


def _documents_left(row: Row) -> int | None:
    """Those that the portal is still to be asked for, or is being asked for."""
    if row["total_documents"] is None:
        return None
    return max(0, int(row["total_documents"] - row["over"] - row["downloaded"]))


def _place(row: Row, portal: Row, outlook: Outlook) -> Place:
    hold = _hold(row, portal) if _documents_left(row) != 0 else _store_hold(portal)
    if hold or outlook.seconds_left is None:
        return Place(outlook.queue_position, None, hold)
    try:
        end = portal["now"] + timedelta(seconds=outlook.seconds_left)
    except OverflowError:  # beyond the calendar
        end = None
    return Place(outlook.queue_position, end)


def _hold(row: Row, portal: Row) -> Hold | None:
    if portal["refused_until"]:
        return Hold(
            "CREDENTIALS_REFUSED",
            "The portal refuses the credentials; it is asked again when they change, or later.",
            portal["refused_until"],
        )
    if portal["untrusted"]:
        return Hold(
            "PORTAL_UNTRUSTED",
            "The portal's certificate is not trusted; it is asked again until it is.",
            portal["paused_until"],
        )
    if hold := _store_hold(portal):
        return hold
    if portal["paused_until"]:
        return Hold("PORTAL_PAUSED", "The portal asked for a pause.", portal["paused_until"])
    if row["next_probe_time"]:
        return Hold(
            "COURT_AWAY",
            f"Court {row['court']} does not answer at the portal; it is probed until it does.",
            max(row["next_probe_time"], portal["now"]),
        )
    return None


def _store_hold(portal: Row) -> Hold | None:
    """Return the hold of what is fetched and cannot be stored."""
    code = portal["store_code"]
    if code is None:
        return None
    return Hold("STORE_REFUSED", f"The bucket refuses files ({code}); it is tried again.", None)
