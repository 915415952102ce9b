"""Looks: the listings of watched cases. A look is a row of jobs that no caller sees.

Claim, limits, circuit breaker and priorities are those of every job. Only the end is different: the
listing is compared with the one before, and the row is deleted if nothing has changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from peewee import JOIN, SQL, fn

from storage import sql
from storage.clients.client_registry import CaseAccess
from storage.errors import CaseNotAllowed, LeaseLost, NotFound
from storage.jobs.widening import MOST_SELECTIONS
from storage.listings import case_answer
from storage.listings.listing_import import ImportRows, ListingImport
from storage.listings.listing_record import count_ends
from storage.models import Court, Job, Subscription
from storage.portal.listing_claims import ListingClaim
from storage.postgres.database import Database
from storage.records import is_sealed
from storage.selections.selection import NOTHING, Selection, Wants
from storage.states import JobState
from storage.subscriptions.case_change import Baseline, CaseChange, change

# Looks that one call starts at most, and looks at available courts that may be under way at once.
BATCH = 20
MOST_LOOKS = 500
# Seconds by which a look waits, once to twice, while the portal or the court is away or a job of
# the case runs.
POSTPONED_S = 120.0


@dataclass(frozen=True, slots=True)
class Look:
    """A look under way. `before`: what the last look found, None for the first.

    `selection`: which new documents are fetched.
    """

    client: str
    process_number: str
    before: Baseline | None
    selection: Selection
    list_only: bool

    def difference(
        self, listing: ListingImport, data: dict[str, Any] | None
    ) -> tuple[Baseline, CaseChange]:
        """Return the baseline of a listing, and what has changed since the last look."""
        after = Baseline.of(listing, data)
        if self.before is None:
            return after, CaseChange()
        changed = change(self.before, after, data, is_sealed=is_case_sealed(listing))
        return self.before.followed_by(after), changed

    def wants(self, changed: CaseChange) -> Wants:
        """Return what the job fetches that the look becomes: new documents of the selection."""
        chosen = frozenset(self.selection.document_ids)
        new = tuple(each for each in changed.new_document_ids if not chosen or each in chosen)
        if self.list_only or not new:
            return NOTHING
        return Wants((replace(self.selection, document_ids=new),))


@dataclass(frozen=True, slots=True)
class RecordedLook:
    """What was recorded. `is_busy`: nothing, because a job of the case runs.

    `is_open`: the look has become a job with documents to fetch.
    """

    is_busy: bool
    is_open: bool
    due_webhooks: Sequence[int]


def start(
    database: Database, access_of: Callable[[str], CaseAccess | None], *, deadline_s: float
) -> int:
    """Start looks at cases that are due, BATCH at most. Return how many cases were due.

    `access_of`: what a client may ask for, None for an unknown client. `deadline_s`: the time limit
    of a look, in seconds.
    """
    due = (
        Subscription.select(Subscription.client, Subscription.process_number)
        # Not clock_timestamp(), which is no condition on an index.
        .where(Subscription.next_time <= fn.now())
        .order_by(Subscription.next_time)
        .limit(BATCH)
        .dicts()
    )
    with database.autocommit() as transaction:
        rows = transaction.fetch(due)
        if not rows or transaction.fetch_one(_under_way())["count"] >= MOST_LOOKS:
            return 0
    asked = [{**row, "job_id": str(uuid4()), **_rules(row, access_of)} for row in rows]
    database.call(
        sql.function("start_looks"),
        due=json.dumps(asked),
        deadline_s=deadline_s,
        postponed_s=POSTPONED_S,
    )
    return len(rows)


def _under_way() -> Any:
    # Looks at an unavailable court may wait for hours. They must not stop those at other courts.
    away = Court.select(Court.court).where(
        Court.court == Job.court, Court.next_probe_time.is_null(False)
    )
    looks = Job.select(SQL("1")).where(
        Job.is_look == SQL("true"), Job.state.in_(("PENDING", "PROCESSING")), ~fn.EXISTS(away)
    )
    return Job.select(fn.count(SQL("*")).alias("count")).from_(looks.limit(MOST_LOOKS)).dicts()


def _rules(row: dict[str, Any], access_of: Callable[[str], CaseAccess | None]) -> dict[str, bool]:
    access = access_of(row["client"])
    try:
        if access is not None:
            access.require(row["process_number"])
    except CaseNotAllowed:
        access = None
    return {
        "may_list": access is not None,
        "refuses_sealed": access is None or access.refuses_sealed,
    }


def of(database: Database, claim: ListingClaim) -> Look | None:
    """Return the look of a claimed listing, None if its job is none."""
    query = (
        Job.select(
            Job.is_look, Subscription.baseline, Subscription.selection, Subscription.list_only
        )
        .join(
            Subscription,
            JOIN.LEFT_OUTER,
            on=(Subscription.client == Job.client)
            & (Subscription.process_number == Job.process_number),
        )
        .where(Job.job_id == claim.job_id)
        .dicts()
    )
    with database.autocommit() as transaction:
        row = transaction.fetch_one(query)
    if row is None or not row["is_look"]:
        return None
    before = row["baseline"] and Baseline.of_values(row["baseline"])
    selection = Selection.of(row["selection"] or {})
    return Look(claim.client, claim.process_number, before, selection, bool(row["list_only"]))


def data_of(
    database: Database, claim: ListingClaim, listing: ListingImport
) -> dict[str, Any] | None:
    """Return the data of the case in a listing, None if it is not known."""
    if listing.answer is not None:
        return listing.answer.data
    if claim.listed_by is None:
        return None
    source = Job.select(Job.client).where(Job.job_id == claim.listed_by).dicts()
    with database.autocommit() as transaction:
        client = transaction.fetch_one(source)["client"]
    try:
        return case_answer.newest(database, client, claim.process_number).data
    except NotFound:
        return None


def is_case_sealed(listing: ListingImport) -> bool:
    """Return whether anything in the listing is under seal."""
    level = listing.secrecy_level
    return level != 0 or any(is_sealed(level, item.listed.secrecy_level) for item in listing.items)


def record(
    database: Database,
    claim: ListingClaim,
    listing: ListingImport,
    baseline: Baseline,
    changed: CaseChange,
    rows: ImportRows | None,
) -> RecordedLook:
    """Record what a look found. `rows`: the documents of the job that it becomes, None for no job.

    Raises LeaseLost.
    """
    values = {**changed.as_values, "process_number": claim.process_number} if changed else None
    recorded = database.call_one(
        sql.function("record_look"),
        job_id=claim.job_id,
        lease=claim.lease,
        baseline=json.dumps(baseline.as_values),
        change=json.dumps(values) if values else None,
        is_sealed=is_case_sealed(listing),
        listing=rows and rows.as_json,
        answer=listing.answer and listing.answer.as_json,
        content=listing.answer and listing.answer.content,
        most_selections=MOST_SELECTIONS,
    )
    if recorded is None:
        raise LeaseLost("The claim on this listing is over.")
    # A waiting job of the case may fetch what has changed. Then the look becomes none.
    is_job = recorded["how"] == "changed" and recorded["state"] != JobState.CANCELLED
    has_job = is_job and rows is not None
    if has_job and rows is not None and recorded["is_new"]:
        count_ends(database, rows, recorded["state"])
    return RecordedLook(
        is_busy=recorded["how"] == "busy",
        is_open=has_job and recorded["state"] == "PROCESSING",
        due_webhooks=recorded["due_webhooks"] or (),
    )
