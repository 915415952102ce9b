"""Slots at the portal: rows with leases, as many as requests may be there at once.

A request holds one slot of the portal as a whole and one of its court, both under the token of
its claim and for as long as that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from storage.models import Slot
from storage.models.base import time_after
from storage.postgres.database import Transaction
from storage.settings import Settings

# The scope of the portal as a whole; every other scope is a court, as J.TR.
PORTAL = ""
# A request that we cut is at the portal until it notices.
RELEASE_DELAY_S = 1.0


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


def ensure_rows(transaction: Transaction, scope: str, count: int) -> None:
    """Insert the rows of a scope that are missing."""
    rows = [(scope, number) for number in range(count)]
    fields = (Slot.scope, Slot.number)
    transaction.execute(Slot.insert_many(rows, fields).on_conflict_ignore())


def release(transaction: Transaction, lease: UUID) -> None:
    """Free the slots of a claim, if it has any: its request is over."""
    transaction.execute(
        Slot.update(lease=None, lease_until=None, taken_time=None, job_id=None).where(
            Slot.lease == lease
        )
    )


def release_after_delay(transaction: Transaction, lease: UUID) -> None:
    """Let the slots of a claim be free in a moment: its request was cut, not answered."""
    transaction.execute(
        Slot.update(lease_until=time_after(RELEASE_DELAY_S)).where(Slot.lease == lease)
    )
