"""What is asked of the portal next: a turn, its slots and its claim, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from uuid import UUID, uuid4

from storage import answers, claims, courts, listing_claims, slots, steps, turns
from storage.claims import Claim
from storage.courts import ProbePolicy
from storage.database import Database, Row, Transaction
from storage.errors import AttemptError
from storage.listing_claims import ListingClaim
from storage.logins import Login
from storage.outcomes import Outcome
from storage.retries import RetryPolicy
from storage.slots import PORTAL, Limits, court_of
from storage.steps import TRIES

# What the step that claims a document tells of it.
CLAIMED = tuple(field.name for field in fields(Claim))


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to a court that is away: the listing of a case, for a sign of life only."""

    lease: UUID
    job_id: UUID
    process_number: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A job that ended here, because its listing had lost too many workers."""

    job_id: UUID


Task = Claim | ListingClaim | Probe | GivenUp


@dataclass(frozen=True, slots=True)
class Asking:
    """What is needed to ask: limits, the login, how courts are probed, and this host's spool."""

    limits: Limits
    login: Login
    probes: ProbePolicy
    spool_id: UUID
    lease_s: float


class _Overtaken(Exception):
    """Others changed what the choice was made by: choose again."""


class _Busy(Exception):
    """Somebody works on the row of the chosen job right now."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__()
        self.job_id = job_id


def next_claims(
    database: Database, asking: Asking, count: int
) -> tuple[list[Claim | ListingClaim], bool]:
    """For `count` who ask: files and cases of courts that answer, claimed and with their slots.

    That is what is asked for most, so it is done for all of them in one round trip. And whether
    there is more to ask for, or might be. If they got less than they asked for, it is something
    else: `next_task` looks more closely.
    """
    if asking.limits.per_minute is not None:
        return [], True
    rows = database.call(
        steps.NEXT,
        leases=[uuid4() for _ in range(count)],
        at_once=asking.limits.at_once,
        per_court=asking.limits.per_court,
        per_minute=None,
        lanes=asking.limits.lanes,
        patience_s=asking.probes.patience_s,
        login_key=asking.login.key,
        fingerprint=asking.login.fingerprint,
        spool_id=asking.spool_id,
        lease_s=asking.lease_s,
    )
    found = [_claim_of(row) for row in rows if row["lease"]]
    return found, len(found) < len(rows)


def _claim_of(row: Row) -> Claim | ListingClaim:
    if row["document_id"]:
        return Claim(**{name: row[name] for name in CLAIMED})
    return ListingClaim(
        job_id=row["job_id"],
        client=row["client"],
        process_number=row["process_number"],
        lease=row["lease"],
        listed_by=None,
        is_doubted=row["is_doubted"],
        has_history=row["has_history"],
        traceparent=row["traceparent"],
    )


def next_task(database: Database, asking: Asking) -> Task | None:
    """What is to be asked of the portal next, claimed and with its slots; None: nothing may be.

    Whoever has done it asks again, until there is nothing: a slot that gets free is so always
    offered to whoever waits, and no thread waits for one.
    """
    # A job whose row is locked must not hold up the others; it is waited for when it is the last.
    busy: list[UUID] = []
    waits = False
    for _ in range(TRIES):
        try:
            with database.transaction() as transaction:
                if not waits:
                    turns.wait(transaction)
                chosen = turns.choose(
                    transaction,
                    asking.limits,
                    asking.login,
                    patience_s=asking.probes.patience_s,
                    passed_over=busy,
                )
                if chosen is not None:
                    return _claim(transaction, asking, chosen, waits=waits)
        except _Overtaken:
            continue
        except _Busy as locked:
            busy.append(locked.job_id)
            continue
        if not busy:
            return None
        busy, waits = [], True
    return None


def room(database: Database, asking: Asking) -> int:
    """How many requests could begin right now; 0 also when nothing waits for one."""
    with database.transaction() as transaction:
        chosen = turns.choose(
            transaction, asking.limits, asking.login, patience_s=asking.probes.patience_s
        )
    return int(chosen["room"]) if chosen else 0


def _claim(transaction: Transaction, asking: Asking, chosen: Row, *, waits: bool) -> Task:
    lease, court = uuid4(), chosen["court"]
    job = transaction.one(
        "SELECT * FROM jobs WHERE job_id = %(job_id)s AND end_time IS NULL FOR UPDATE"
        + ("" if waits else " SKIP LOCKED"),
        job_id=chosen["job_id"],
    )
    if job is None:
        raise _Overtaken if waits else _Busy(chosen["job_id"])
    if waits:
        # Only now: nobody else may claim meanwhile.
        turns.wait(transaction)
    if chosen["is_probe"] and not courts.begin_probe(transaction, court, asking.probes):
        raise _Overtaken
    if chosen["needs_listing"] and listing_claims.give_up(transaction, job):
        return GivenUp(job["job_id"])
    limits = replace(asking.limits, at_once=int(chosen["at_once"]))
    _take_slots(transaction, limits, court, lease, lease_s=asking.lease_s)
    task = _task(transaction, asking, chosen, job, lease)
    if task is None:
        raise _Overtaken
    _keep_the_rate(transaction, asking.limits)
    turns.charge(transaction, chosen)
    return task


def _take_slots(
    transaction: Transaction, limits: Limits, court: str, lease: UUID, *, lease_s: float
) -> None:
    if slots.take(transaction, court, lease, limits, lease_s=lease_s):
        return
    # The first request of a court, or of a greater limit, finds no rows.
    slots.lay_out(transaction, PORTAL, limits.at_once)
    slots.lay_out(transaction, court, limits.per_court)
    if not slots.take(transaction, court, lease, limits, lease_s=lease_s):
        raise _Overtaken


def _task(
    transaction: Transaction, asking: Asking, chosen: Row, job: Row, lease: UUID
) -> Task | None:
    if chosen["needs_listing"]:
        return listing_claims.claim_in(transaction, job, lease, lease_s=asking.lease_s)
    if chosen["is_probe"] and chosen["is_long"]:
        return Probe(lease, job["job_id"], job["process_number"])
    return claims.claim_in(
        transaction,
        job,
        lease,
        spool_id=asking.spool_id,
        lanes=asking.limits.lanes,
        lease_s=asking.lease_s,
    )


def _keep_the_rate(transaction: Transaction, limits: Limits) -> None:
    """Evenly spaced requests, so that no minute has more than its number."""
    if limits.per_minute is None:
        return
    is_mine = transaction.run(
        "UPDATE portal SET next_request_time = clock_timestamp()"
        " + %(every_s)s * interval '1 second' WHERE next_request_time <= clock_timestamp()",
        every_s=60 / limits.per_minute,
    )
    if not is_mine:
        raise _Overtaken


def next_by_rate_s(database: Database) -> float | None:
    """Seconds until the rate lets the next request begin, for one caller to wake then.

    None: somebody wakes then already.
    """
    with database.single() as transaction:
        row = transaction.one(
            """
            UPDATE portal SET wake_time = next_request_time
            WHERE next_request_time > clock_timestamp() AND wake_time < next_request_time
            RETURNING extract(epoch FROM next_request_time - clock_timestamp()) AS wait_s
            """
        )
    return max(0.0, float(row["wait_s"])) if row else None


def probed(
    database: Database, probe: Probe, error: AttemptError | None, policy: RetryPolicy
) -> Outcome:
    """Records what a probe came to; without an error the court is back."""
    court = court_of(probe.process_number)
    with database.transaction() as transaction:
        if error is None:
            # Its files failed while its court was at work: they say nothing about the court until
            # one of them is good.
            transaction.run(
                "UPDATE jobs SET files_failing_since = courts.failing_since FROM courts"
                " WHERE job_id = %(job_id)s AND courts.court = jobs.court AND end_time IS NULL",
                job_id=probe.job_id,
            )
            return Outcome(None, False, wakes=answers.good(transaction, probe.lease))
        verdict = answers.failed(transaction, probe.lease, court, error, policy, since=None)
        return Outcome(verdict.wait_s, False, verdict.wakes, verdict.lingers)


def release(database: Database, lease: UUID) -> None:
    """Frees the slots of a claim that was taken back, a moment after its request was cut."""
    with database.transaction() as transaction:
        slots.linger(transaction, lease)
