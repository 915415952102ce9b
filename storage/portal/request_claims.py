"""Claims: the only way in which a portal request may begin.

Every caller uses `claim` or `claim_any` immediately before its request, whether or not a scheduler
proposed the job. Both run `sql/portal/claim.sql`, which enforces every limit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from storage import sql
from storage.event_counters import JOBS_ENDED, LEASES_LOST
from storage.login.login_values import Login
from storage.portal import slots
from storage.portal.case_budget import NO_BUDGET, CaseBudget
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.document_claims import DocumentClaim
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import PORTAL, Limits
from storage.postgres.database import Database, Row
from storage.selections.selection import Wants
from storage.states import JobState

# `claim_any` is refused while the leader's last write to Valkey is younger than this, in seconds.
SENDS_S = 2.0
# The largest number of requests in a slice.
SLICE_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class ClaimContext:
    """The values that are the same for every claim of a process."""

    limits: Limits
    login: Login
    probes: ProbePolicy
    spool_id: UUID
    lease_s: float
    budget: CaseBudget = NO_BUDGET


@dataclass(frozen=True, slots=True)
class ClaimRefusal:
    """A claim that may not begin now. Nothing was changed, except by CASE_BUDGET: the job waits.

    `until_time` is the time before which the refusal stays, None if unknown. `reason` is one of
    BUSY, FULL, LANES, WAITING, ENDED, PAUSED, LOGIN_REFUSED, LOGIN_AWAY, RATE, AWAY, CASE_BUDGET,
    LED and NOTHING.
    """

    scope: RefusedScope
    reason: str
    job_id: UUID | None
    court: str | None
    until_time: datetime | None


@dataclass(frozen=True, slots=True)
class Slice:
    """Documents of one job, to be requested one after the other under one slot.

    `token` holds the slot. Request k must not begin before `begins_in_s` + k x `every_s` seconds
    after the claim was answered. `has_more`: another slice could begin now in a free lane.
    `next_not_before`: the time at which the next document is due again. `next_request_time`: the
    first time that no claim has reserved; None without a rate.
    """

    token: UUID
    job_id: UUID
    client: str
    process_number: str
    traceparent: str | None
    documents: tuple[DocumentClaim, ...]
    claim_time: datetime
    begins_in_s: float
    every_s: float
    has_more: bool
    next_not_before: datetime | None
    next_request_time: datetime | None


@dataclass(frozen=True, slots=True)
class CourtProbe:
    """A listing that only tests whether the court answers, under the slot `token`.

    `next_request_time`: as in Slice.
    """

    token: UUID
    job_id: UUID
    client: str
    process_number: str
    begins_in_s: float
    next_request_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that the claim ended, because its listing lost too many workers."""

    job_id: UUID
    due_webhooks: Sequence[int]


def _columns(record: type, *others: str) -> tuple[str, ...]:
    """Return the fields of a record, without `others`: a claim's row has them by the same names."""
    return tuple(field.name for field in fields(record) if field.name not in others)


_OF_SLICE = _columns(Slice, "token", "documents", "every_s")
_OF_DOCUMENT = _columns(DocumentClaim, "slice_token")
_OF_PROBE = _columns(CourtProbe, "token")
_OF_LISTING = _columns(ListingClaim, "lease", "begins_in_s", "usual_s", "wants")
Claimed = Slice | ListingClaim | CourtProbe | EndedJob | ClaimRefusal


def claim(database: Database, context: ClaimContext, job_id: UUID, wanted: int = 1) -> Claimed:
    """Begin up to `wanted` requests for a job, or return why none may begin.

    Raises ServiceUnavailable. In that case the claim may exist, and its lease expires.
    """
    return _claim(database, context, "claim", wanted, job_id=job_id)


def claim_any(database: Database, context: ClaimContext, wanted: int = SLICE_REQUESTS) -> Claimed:
    """Begin up to `wanted` requests for any running job, while no scheduler proposes.

    Raises ServiceUnavailable.
    """
    given = {"from": _random_uuid(), "sends_s": SENDS_S}
    return _claim(database, context, "claim_any", wanted, **given)


def _claim(
    database: Database, context: ClaimContext, function: str, wanted: int, **given: Any
) -> Claimed:
    limits = context.limits
    token = _random_uuid()
    values = {
        **given,
        "slice": token,
        # A message may ask for any number.
        "leases": [_random_uuid() for _ in range(max(1, min(wanted, SLICE_REQUESTS)))],
        "at_once": limits.at_once,
        "per_court": limits.per_court,
        "per_minute": limits.per_minute,
        "lanes": limits.lanes,
        "probe_base_s": context.probes.base_s,
        "probe_patience_s": context.probes.patience_s,
        "login_key": context.login.key,
        "fingerprint": context.login.fingerprint,
        "spool_id": context.spool_id,
        "lease_s": context.lease_s,
        "budget": context.budget.as_json(),
    }
    rows = database.call(sql.function(function), **values)
    if rows[0]["answer"] == "NO_SLOT_ROWS":
        _create_slot_rows(database, limits, rows[0]["court"])
        rows = database.call(sql.function(function), **values)
    if rows[0]["was_lost"] or rows[0]["answer"] == "ENDED":
        database.counted(LEASES_LOST, "list")
    if rows[0]["answer"] == "ENDED":
        database.counted(JOBS_ENDED, JobState.FAILED)
    return _answer_of(rows, token)


def _create_slot_rows(database: Database, limits: Limits, court: str) -> None:
    with database.transaction() as transaction:
        slots.ensure_rows(transaction, PORTAL, limits.at_once)
        slots.ensure_rows(transaction, court, limits.per_court)


def _answer_of(rows: Sequence[Row], token: UUID) -> Claimed:
    row = rows[0]
    match row["answer"]:
        case "DOCUMENT":
            return _slice(rows, token)
        case "LISTING" | "KNOWN_LISTING":
            return ListingClaim(
                **{name: row[name] for name in _OF_LISTING},
                lease=token,
                begins_in_s=row["begins_in_s"] or 0.0,
                usual_s=row["usual_s"] or 0.0,
                wants=Wants.of(row["selections"]),
            )
        case "PROBE":
            return CourtProbe(token=token, **{name: row[name] for name in _OF_PROBE})
        case "ENDED":
            return EndedJob(row["job_id"], tuple(row["due_webhooks"]))
        case _:
            return ClaimRefusal(
                RefusedScope(row["scope"]),
                row["reason"],
                row["job_id"],
                row["court"],
                row["until_time"],
            )


def _slice(rows: Sequence[Row], token: UUID) -> Slice:
    row = rows[0]
    documents = tuple(
        DocumentClaim(**{name: each[name] for name in _OF_DOCUMENT}, slice_token=token)
        for each in rows
    )
    values = {name: row[name] for name in _OF_SLICE}
    return Slice(token=token, documents=documents, every_s=row["every_s"] or 0.0, **values)


def _random_uuid() -> UUID:
    # The same as uuid4, without an extra system call for each value.
    return UUID(bytes=os.urandom(16), version=4)


def return_unstarted(database: Database, job_id: UUID, leases: Sequence[UUID]) -> list[UUID]:
    """Give back documents before their requests began. Return the ids that were still held.

    No attempt is counted. Raises ServiceUnavailable.
    """
    rows = database.call(sql.function("return_documents"), job_id=job_id, leases=list(leases))
    return [row["document_id"] for row in rows]


def release_slots(database: Database, token: UUID) -> None:
    """Free the slots of a slice that made no request. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        slots.release(transaction, token)


def linger_slots(database: Database, token: UUID) -> None:
    """Free the slots of a request that was cut, after a delay: the portal may still work on it.

    Raises ServiceUnavailable.
    """
    with database.transaction() as transaction:
        slots.release_after_delay(transaction, token)
