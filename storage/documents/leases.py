"""The leases of a process: documents, listings and slots, renewed by one statement."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from storage import sql
from storage.postgres.database import Database


def renew_leases(database: Database, leases: Iterable[UUID], *, lease_s: float) -> set[UUID]:
    """Renew leases for `lease_s` seconds. Return those that are still held.

    A lease on a row that another transaction has locked counts as held, and is renewed next time.
    """
    rows = database.call(sql.function("renew_leases"), leases=list(leases), lease_s=lease_s)
    return {row["lease"] for row in rows}
