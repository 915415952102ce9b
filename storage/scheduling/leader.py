"""The leader's lease: one row. Two leaders cost efficiency, not safety, so nothing is fenced."""

from __future__ import annotations

from uuid import UUID

from peewee import fn

from storage.models import Leader
from storage.models.base import time_after
from storage.postgres.database import Database

# Another scheduler follows a lost leader after at most this many seconds.
LEASE_S = 4.0


def lead(database: Database, holder: UUID, *, sends: bool) -> bool:
    """Take or renew the lease for `holder`. Return whether it leads now.

    `sends`: the holder's last write to Valkey succeeded. While no leader sends, workers claim by
    themselves. Raises ServiceUnavailable.
    """
    now = fn.clock_timestamp()
    # A later end than any lease can have was set before the clock of the database went back, for
    # example at a failover.
    is_over = (Leader.lease_until < now) | (Leader.lease_until > time_after(2 * LEASE_S))
    query = Leader.update(
        holder=holder,
        lease_until=time_after(LEASE_S),
        sends_time=now if sends else Leader.sends_time,
    ).where(Leader.holder.is_null() | (Leader.holder == holder) | is_over)
    with database.autocommit() as transaction:
        return transaction.execute(query) == 1


def give_up(database: Database, holder: UUID) -> None:
    """Give up the lease if `holder` has it. Raises ServiceUnavailable."""
    query = Leader.update(holder=None, lease_until=None, sends_time=None).where(
        Leader.holder == holder
    )
    with database.autocommit() as transaction:
        transaction.execute(query)
