"""Repeatable calls: a client uses a request_id for one call only, whatever its method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import peewee

from storage.errors import RequestIdReused
from storage.models import Request
from storage.postgres.database import Database, Transaction

T = TypeVar("T")

# A call that loses more races than this against other transactions is a defect.
RACES = 5


def was_done(
    transaction: Transaction, client: str, request_id: UUID | None, method: str, job_id: UUID
) -> bool:
    """Return whether this call on a job was made before.

    Raises RequestIdReused if the request_id was used for another call.
    """
    if request_id is None:
        return False
    earlier = transaction.fetch_one(
        Request.select(Request.payload_sha256)
        .where(Request.client == client, Request.request_id == request_id)
        .dicts()
    )
    if earlier and earlier["payload_sha256"] != _payload_sha256(method, job_id):
        raise RequestIdReused.of(
            "request_id", "was already used for another request; choose a new UUID."
        )
    return earlier is not None


def record(
    transaction: Transaction, client: str, request_id: UUID | None, method: str, job_id: UUID
) -> None:
    """Record this call on a job. Raises IntegrityError if another transaction was faster."""
    if request_id is not None:
        transaction.execute(
            Request.insert(
                client=client,
                request_id=request_id,
                payload_sha256=_payload_sha256(method, job_id),
                job_id=job_id,
            )
        )


def repeated_if_raced(database: Database, begin: Callable[[Transaction], T]) -> T:
    """Return the result of `begin`. Call it again if another transaction inserted a row first."""
    for _ in range(RACES):
        try:
            with database.transaction() as transaction:
                return begin(transaction)
        except peewee.IntegrityError:
            # The other transaction is, for example, a StartDownload on the case or a call with the
            # same request_id. The next round reads it.
            continue
    with database.transaction() as transaction:
        return begin(transaction)


def _payload_sha256(method: str, job_id: UUID) -> str:
    return hashlib.sha256(f"{method} {job_id}".encode()).hexdigest()
