"""The current state of Autos in numbers: one transaction with a few small statements, for a metric.

No statement reads all ended rows, or a table that only grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from storage import refusals
from storage.login import login_blocks
from storage.login.login_values import Login
from storage.models import (
    Court,
    Document,
    Installation,
    Job,
    PortalThrottle,
    Slot,
    SpoolState,
    Webhook,
)
from storage.models.job import RUNNING
from storage.portal import case_budget
from storage.portal.case_budget import NO_BUDGET, CaseBudget, LimitUse
from storage.portal.slots import PORTAL, Limits
from storage.postgres.database import Database
from storage.scheduling.reconciliation import IN_TROUBLE
from storage.states import IN_LANE, JOB_RUNNING, DocumentState, WebhookState

_RUNNING = Job.state.in_(RUNNING)
_COUNT = fn.count(SQL("*"))


def _seconds_since(moment: Any) -> Any:
    return fn.coalesce(fn.date_part("epoch", fn.clock_timestamp() - moment), 0.0)


@dataclass(frozen=True, slots=True)
class Gauges:
    """The gauges. Mappings are by court (J.TR), `jobs` by state.

    `at_once`: how many requests may be at the portal now, less than the setting during a slow
    start. A job waits if it needs a portal request and has none under way. `oldest_s`: seconds
    since the run of the oldest waiting job began. `documents`, by state: open documents of running
    jobs. `webhook_oldest_s`: seconds for which the oldest due webhook has been due.
    `jobs_over_budget`: jobs that wait for the budget of different cases; these do not count as
    waiting for the portal. `case_limits`: the use of each limit of the budget.
    """

    is_login_refused: bool
    paused_s: float
    at_once: int
    requests: Mapping[str, int]
    courts_away: Mapping[str, bool]
    request_s: Mapping[str, float]
    jobs: Mapping[str, int]
    jobs_waiting: int
    jobs_over_budget: int
    oldest_s: float
    documents: Mapping[str, int]
    webhooks_due: int
    webhook_oldest_s: float
    spools_in_trouble: int
    is_bucket_in_trouble: bool
    is_store_refused: bool
    is_portal_untrusted: bool
    case_limits: Sequence[LimitUse] = ()


def read(
    database: Database, limits: Limits, login: Login, budget: CaseBudget = NO_BUDGET
) -> Gauges:
    """Return the current gauges. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        hold = login_blocks.hold(transaction, login)
        portal = transaction.fetch_one(_portal())
        requests = dict(transaction.fetch(_requests()))
        courts = transaction.fetch(_courts())
        jobs = transaction.fetch(_jobs())
        is_open = int(transaction.fetch_one(_open_documents())[0])
        in_lane = dict(transaction.fetch(_documents_in_lane()))
        hooks = transaction.fetch_one(_webhooks())
        spools = transaction.fetch_one(SpoolState.select(_COUNT).where(IN_TROUBLE).tuples())
        held = transaction.fetch_one(refusals.holds())
        over_budget = case_budget.waiting_jobs(transaction)
        case_limits = case_budget.read_use(transaction, budget.limits) if budget.limits else ()
        untroubled = transaction.fetch_one(_untroubled_installation())
    return Gauges(
        is_login_refused=hold is not None,
        paused_s=max(0.0, portal["paused_s"]),
        at_once=min(limits.at_once, int(portal["eased"] or limits.at_once)),
        requests=requests,
        courts_away={row["court"]: row["is_away"] for row in courts},
        # A court without a measurement has an assumed time, and an assumption is no metric.
        request_s={row["court"]: row["request_s"] for row in courts if row["measured_requests"]},
        jobs=dict.fromkeys(sorted(JOB_RUNNING), 0) | {row["state"]: row["jobs"] for row in jobs},
        jobs_waiting=sum(row["waiting"] for row in jobs),
        jobs_over_budget=sum(over_budget.values()),
        oldest_s=max((row["oldest_s"] for row in jobs), default=0.0),
        documents=_documents(is_open, in_lane),
        webhooks_due=hooks["due"],
        webhook_oldest_s=hooks["oldest_s"],
        spools_in_trouble=spools[0],
        is_bucket_in_trouble=untroubled is None,
        is_store_refused=held["store_code"] is not None,
        is_portal_untrusted=held["untrusted"],
        case_limits=case_limits,
    )


def _portal() -> Any:
    now = fn.clock_timestamp()
    # "No pause" is minus infinity, which PostgreSQL does not subtract from before release 17.
    paused_s = fn.date_part("epoch", fn.greatest(PortalThrottle.paused_until, now) - now)
    return PortalThrottle.select(paused_s.alias("paused_s"), PortalThrottle.eased).dicts()


def _requests() -> Any:
    """Return the query for the requests under way, by court."""
    under_way = _COUNT.filter(Slot.lease_until >= fn.clock_timestamp())
    by_court = Slot.select(Slot.scope, under_way).where(Slot.scope != PORTAL)
    return by_court.group_by(Slot.scope).tuples()


def _courts() -> Any:
    return Court.select(
        Court.court,
        Court.next_probe_time.is_null(False).alias("is_away"),
        Court.request_s,
        Court.measured_requests,
    ).dicts()


def _jobs() -> Any:
    """Return the query for running jobs by state, and those that wait for the portal."""
    its_documents = Document.select(Document.document_id).where(Document.job_id == Job.job_id)
    is_listing = fn.coalesce(Job.listing_lease_until, SQL("'-infinity'")) >= fn.clock_timestamp()
    is_downloading = fn.EXISTS(its_documents.where(Document.state == DocumentState.DOWNLOADING))
    pending = its_documents.where(Document.state == DocumentState.PENDING)
    # Separate conditions, because each uses its own index.
    has_fresh = fn.EXISTS(pending.where(Document.not_before.is_null()))
    has_pending = has_fresh | fn.EXISTS(pending.where(Document.not_before.is_null(False)))
    # A job before its not_before_time, or over the budget of cases, waits for no place.
    is_due = Job.not_before_time.is_null() | (Job.not_before_time <= fn.clock_timestamp())
    needs_portal = Job.listed_time.is_null() | has_pending
    is_waiting = (
        is_due & Job.budget_wait_time.is_null() & ~is_listing & ~is_downloading & needs_portal
    )
    running = (
        Job.select(
            Job.state,
            fn.greatest(fn.coalesce(Job.rerun_time, Job.create_time), Job.not_before_time).alias(
                "begin_time"
            ),
            is_waiting.alias("is_waiting"),
        )
        .where(_RUNNING)
        .alias("running")
    )
    oldest = fn.min(running.c.begin_time).filter(running.c.is_waiting)
    return (
        Job.select(
            running.c.state,
            _COUNT.alias("jobs"),
            _COUNT.filter(running.c.is_waiting).alias("waiting"),
            _seconds_since(oldest).alias("oldest_s"),
        )
        .from_(running)
        .group_by(running.c.state)
        .dicts()
    )


def _open_documents() -> Any:
    """Return the query for the number of open documents of running jobs.

    The jobs' counters give the number, because there may be very many documents.
    """
    return (
        Job.select(fn.coalesce(fn.sum(Job.documents_left()), 0))
        .where(_RUNNING, Job.total_documents.is_null(False))
        .tuples()
    )


def _documents_in_lane() -> Any:
    by_state = Document.select(Document.state, _COUNT).where(Document.state.in_(sorted(IN_LANE)))
    return by_state.group_by(Document.state).tuples()


def _webhooks() -> Any:
    oldest_s = _seconds_since(fn.min(Webhook.next_attempt_time))
    return (
        Webhook.select(_COUNT.alias("due"), oldest_s.alias("oldest_s"))
        .where(
            Webhook.state == WebhookState.PENDING,
            Webhook.next_attempt_time <= fn.clock_timestamp(),
        )
        .dicts()
    )


def _untroubled_installation() -> Any:
    return Installation.select(Installation.installation_id).where(
        Installation.bucket_trouble == "", Installation.sweep_trouble == ""
    )


def _documents(is_open: int, in_lane: Mapping[str, int]) -> dict[str, int]:
    # The statements read different moments, so the difference may be negative.
    waiting = max(0, is_open - sum(in_lane.values()))
    return {DocumentState.PENDING: waiting, **dict.fromkeys(sorted(IN_LANE), 0), **in_lane}
