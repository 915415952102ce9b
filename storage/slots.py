"""Slots at the portal: rows with leases, as many as requests may be there at once.

A request holds one slot of the portal as a whole and one of its court, both under the token of
its claim and for as long as that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from storage.database import Transaction
from storage.settings import Settings

# The scope of the portal as a whole; every other scope is a court, as J.TR.
PORTAL = ""
# A request that we cut is at the portal until it notices.
LINGER_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked of the portal: at once in all, at once per court, and per minute.

    `lanes`: documents of one job between claim and bucket.
    """

    at_once: int
    per_court: int
    lanes: int
    per_minute: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """What the settings allow."""
        return cls(
            at_once=settings.pdpj_max_concurrent,
            per_court=settings.pdpj_max_concurrent_per_court,
            lanes=settings.lanes_per_job,
            per_minute=settings.pdpj_max_per_minute,
        )


def court_of(process_number: str) -> str:
    """The court of a punctuated CNJ number, as J.TR: "8.26"."""
    return process_number[16:20]


LAY_OUT = (
    "INSERT INTO slots (scope, number) SELECT %(scope)s, generate_series(0, %(count)s - 1)"
    " ON CONFLICT DO NOTHING"
)


def lay_out(transaction: Transaction, scope: str, count: int) -> None:
    """Makes sure that a scope has its rows. May be said twice."""
    transaction.run(LAY_OUT, scope=scope, count=count)


UNTAKEN = "lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL"
FREE_ALL = f"UPDATE slots SET {UNTAKEN} WHERE lease = ANY(%(leases)s)"


def free(transaction: Transaction, lease: UUID) -> None:
    """Frees the slots of a claim, if it has any: its request is over."""
    transaction.run(FREE_ALL, leases=[lease])


def linger(transaction: Transaction, lease: UUID) -> None:
    """Has the slots of a claim be free in a moment: its request was cut, not answered."""
    transaction.run(
        "UPDATE slots SET lease_until = clock_timestamp() + %(linger_s)s * interval '1 second'"
        " WHERE lease = %(lease)s",
        lease=lease,
        linger_s=LINGER_S,
    )
