"""The budget of different cases that the portal's login may request in a rolling window.

Courts block logins by the number of different cases. The claim of a listing charges the budget, see
`sql/portal/check_case_budget.sql`; all processes share it. A case counts from its newest request
on, so no window ever holds more cases than its limit. A job beyond the budget waits in its row, and
its deadline stands still.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from peewee import SQL, fn

from storage import sql
from storage.models import Job, RequestedCase
from storage.models.base import time_after
from storage.models.job import RUNNING
from storage.postgres.database import Database, Transaction
from storage.settings import Settings

DAY_S = 86_400
MONTH_S = 30 * DAY_S
# A request reaches the portal after its claim, and later than the clock of the portal may show. So
# a case counts this many seconds longer than the window.
MARGIN_S = 60
# How many old rows are deleted at once.
BATCH = 10_000


@dataclass(frozen=True, slots=True)
class CaseLimit:
    """At most `most` different cases within `window_s` seconds. `court`: J.TR; None: all courts.

    `most`: None if the cases are counted and not limited.
    """

    court: str | None
    window_s: int
    most: int | None


@dataclass(frozen=True, slots=True)
class CaseBudget:
    """The limits, and the keys of the HMACs of case numbers: the first one is current."""

    limits: tuple[CaseLimit, ...] = ()
    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: Settings) -> CaseBudget:
        """Return the budget in the settings."""
        by_court = {
            DAY_S: settings.pdpj_cases_per_day_by_court,
            MONTH_S: settings.pdpj_cases_per_30_days_by_court,
        }
        of_all = {DAY_S: settings.pdpj_cases_per_day, MONTH_S: settings.pdpj_cases_per_30_days}
        return cls(
            tuple(CaseLimit(None, window_s, most) for window_s, most in of_all.items() if most)
            + tuple(
                CaseLimit(court, window_s, most)
                for window_s, limits in by_court.items()
                for court, most in sorted(limits.items())
            ),
            tuple(map(_key, settings.encryption_keys)),
        )

    def as_json(self) -> str | None:
        """Return the budget as the claim takes it, None if there is no limit."""
        return _as_json(self.limits, self.keys) if self.limits else None


NO_BUDGET = CaseBudget()
# A running job that waits for the budget.
WAITS = Job.state.in_(RUNNING) & Job.budget_wait_time.is_null(False)


def _as_json(limits: Iterable[CaseLimit], keys: Iterable[bytes] = ()) -> str:
    return json.dumps(
        {
            "limits": [{**asdict(limit), "margin_s": MARGIN_S} for limit in limits],
            "keys": [key.hex() for key in keys],
        }
    )


def _key(encryption_key: str) -> bytes:
    # A key of its own: the statements of claims contain it.
    return hmac.digest(base64.urlsafe_b64decode(encryption_key), b"case budget", "sha256")


@dataclass(frozen=True, slots=True)
class LimitUse:
    """The cases of the last `limit.window_s` seconds.

    `end_time`: when the limit has a place again; None if it has one now.
    """

    limit: CaseLimit
    cases: int
    end_time: datetime | None


def read_use(transaction: Transaction, limits: Sequence[CaseLimit]) -> list[LimitUse]:
    """Return the use of each of these limits."""
    asked = {(limit.court, limit.window_s): limit for limit in limits}
    rows = transaction.all(sql.function("read_case_budget").call, budget=_as_json(limits))
    return [
        LimitUse(asked[row["court"], row["window_s"]], row["cases"], row["end_time"])
        for row in rows
    ]


def complete(limits: Iterable[CaseLimit]) -> list[CaseLimit]:
    """Return a limit for both windows of all courts, and of each court that has one.

    A limit that is not set has None as `most`.
    """
    most = {(each.court, each.window_s): each.most for each in limits}
    courts: list[str | None] = [None, *sorted({court for court, _ in most if court is not None})]
    return [
        CaseLimit(court, window_s, most.get((court, window_s)))
        for court in courts
        for window_s in (DAY_S, MONTH_S)
    ]


def read_all(database: Database, budget: CaseBudget) -> list[LimitUse]:
    """Return the use of both windows, set or not. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        return read_use(transaction, complete(budget.limits))


def ends(transaction: Transaction, budget: CaseBudget) -> Mapping[str, datetime]:
    """Return when the used up budgets have a place again, by `Job.budget_scope`."""
    found: dict[str, datetime] = {}
    for use in read_use(transaction, budget.limits):
        if use.end_time is not None:
            scope = use.limit.court or ""
            found[scope] = max(use.end_time, found.get(scope, use.end_time))
    return found


def waiting_jobs(transaction: Transaction) -> dict[str, int]:
    """Return how many running jobs wait for the budget, by `Job.budget_scope`."""
    by_scope = Job.select(Job.budget_scope, fn.count(SQL("*"))).where(WAITS)
    return dict(transaction.fetch(by_scope.group_by(Job.budget_scope).tuples()))


def is_waited_for(transaction: Transaction) -> bool:
    """Return whether a running job waits for the budget."""
    return transaction.fetch_one(Job.select(Job.budget_scope).where(WAITS).limit(1)) is not None


def troubles(database: Database) -> list[str]:
    """Return which budgets are used up, if jobs wait for them. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        scopes = sorted(waiting_jobs(transaction))
    return [
        f"Jobs wait for the budget of cases of {f'court {scope}' if scope else 'all courts'}."
        for scope in scopes
    ]


def delete_old(database: Database) -> int:
    """Delete cases that are in no window any more, at most BATCH. Return their number.

    Raises ServiceUnavailable.
    """
    old = RequestedCase.select(RequestedCase.case_hmac).where(
        RequestedCase.request_time < time_after(-MONTH_S - MARGIN_S)
    )
    with database.transaction() as transaction:
        # Of the claims: none of them may wait for one of these rows.
        transaction.value(fn.pg_advisory_xact_lock(fn.hashtextextended("case budget", 0)))
        return transaction.execute(
            RequestedCase.delete().where(RequestedCase.case_hmac.in_(old.limit(BATCH)))
        )
