"""Leases: those of a process, renewed by one statement, and those of files that wait in a spool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from storage import sql
from storage.models import Document
from storage.models.base import time_after
from storage.portal.document_claims import CheckedFile
from storage.postgres.database import Database


def renew_leases(database: Database, leases: Iterable[UUID], *, lease_s: float) -> set[UUID]:
    """Renew leases for `lease_s` seconds. Return those that are still held.

    A lease on a row that another transaction has locked counts as held, and is renewed next time.
    """
    rows = database.call(sql.function("renew_leases"), leases=list(leases), lease_s=lease_s)
    return {row["lease"] for row in rows}


def take_uploads(
    database: Database,
    spool_id: UUID | None,
    *,
    woken_by: Sequence[UUID],
    most: int,
    lease_s: float,
) -> list[CheckedFile]:
    """Lease up to `most` files that wait in the spool to the caller, for `lease_s` seconds.

    The files of the claims `woken_by` come first, if they wait.
    """
    rows = database.call(
        sql.function("take_uploads"),
        spool_id=spool_id,
        woken_by=list(woken_by),
        most=most,
        lease_s=lease_s,
    )
    return [CheckedFile(**row) for row in rows]


def postpone_upload(
    database: Database, file: CheckedFile, *, spool_id: UUID, delay_s: float
) -> None:
    """Postpone a file's upload by `delay_s` seconds: S3 is unavailable. No attempt counts."""
    query = Document.update(
        pause_count=Document.pause_count + 1,
        spool_id=spool_id,
        lease_until=time_after(delay_s),
    ).where(
        Document.job_id == file.job_id,
        Document.document_id == file.document_id,
        Document.lease == file.lease,
    )
    with database.autocommit() as transaction:
        transaction.execute(query)
