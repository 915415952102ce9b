"""Slots at the portal: rows with leases, one for each concurrent request.

A request holds one slot of the portal and one of its court. Both carry the token of its claim, for
as long as the claim is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import peewee

from storage.models import Slot
from storage.models.base import time_after
from storage.postgres.database import Transaction
from storage.settings import Settings

# The scope of the portal as a whole; every other scope is a court, as J.TR.
PORTAL = ""
# A request that Autos cuts occupies the portal until the portal notices.
RELEASE_DELAY_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of portal requests: concurrent in all, concurrent per court, and per minute.

    `lanes`: documents of one job between claim and bucket.
    """

    at_once: int
    per_court: int
    lanes: int
    per_minute: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits in the settings."""
        return cls(
            at_once=settings.pdpj_max_concurrent,
            per_court=settings.pdpj_max_concurrent_per_court,
            lanes=settings.lanes_per_job,
            per_minute=settings.pdpj_max_per_minute,
        )


def court_of(process_number: str) -> str:
    """Return the court of a punctuated CNJ number, as J.TR: "8.26"."""
    return process_number[16:20]


def ensure_rows(transaction: Transaction, scope: str, count: int) -> None:
    """Insert the missing rows of a scope."""
    rows = peewee.Select(columns=[peewee.Value(scope), peewee.fn.generate_series(0, count - 1)])
    fields = (Slot.scope, Slot.number)
    transaction.execute(Slot.insert_from(rows, fields).on_conflict_ignore())


def release(transaction: Transaction, lease: UUID) -> None:
    """Free the slots of a claim, if it holds any: its request is over."""
    transaction.execute(
        Slot.update(lease=None, lease_until=None, taken_time=None, job_id=None).where(
            Slot.lease == lease
        )
    )


def release_after_delay(transaction: Transaction, lease: UUID) -> None:
    """Free the slots of a claim after RELEASE_DELAY_S: its request was cut, not answered."""
    transaction.execute(
        Slot.update(lease_until=time_after(RELEASE_DELAY_S)).where(Slot.lease == lease)
    )
