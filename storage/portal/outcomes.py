"""The result of an attempt at the portal for the worker that made it, and what a refusal covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RefusedScope(StrEnum):
    """The scope of a refused claim. CLIENT: the job's client at the portal; CLIENT_COURT: the same
    at the job's court. BUDGET: listings of cases that are new to the budget of all courts;
    COURT_BUDGET: the same for the job's court.
    """

    PORTAL = "PORTAL"
    COURT = "COURT"
    CLIENT = "CLIENT"
    CLIENT_COURT = "CLIENT_COURT"
    BUDGET = "BUDGET"
    COURT_BUDGET = "COURT_BUDGET"
    CASE = "CASE"
    JOB = "JOB"


@dataclass(frozen=True, slots=True)
class FailureEffect:
    """The effect of a failed request on all workers, or on those that serve `client`.

    `wait_s`: seconds before the same item may be requested again; if set, the attempt does not
    count. `is_long`: the court has been away for longer than `patience_s` of ProbePolicy.
    `failing_since`: the time from which the portal answered this item with its own failures only.
    """

    wait_s: float | None = None
    is_long: bool = False
    failing_since: datetime | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt that has ended.

    `delay_s`: seconds until the next attempt, None if there is none. `is_closed`: the portal or the
    court accepts no request of other jobs until then. `closed_client`: only those of this client;
    None: of all.
    """

    delay_s: float | None
    job_has_ended: bool
    is_closed: bool = False
    closed_client: str | None = None
