"""Refusals by S3 and the portal as rows: workers write them, holds and metrics show them.

A row is in force while it is recent. The process that wrote it deletes it at the first success. The
row of a lost process expires by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from peewee import EXCLUDED, Case, Select, fn

from storage.errors import ServiceRefused, ServiceUnavailable
from storage.logs import ANSWER_CAP, OutageLog
from storage.models import PortalThrottle, ServiceRefusal
from storage.models.base import time_after
from storage.postgres.database import Database, Transaction

# A refused operation is tried again at least every 40 s, while anything needs it.
IN_FORCE_S = 90.0
# A process writes a row at most this often.
WRITE_EVERY_S = 1.0
# How long requests to the portal pause: as long as the refusal has lasted, within these limits.
PAUSE_MIN_S, PAUSE_MAX_S = 5.0, 60.0
STORE, PORTAL = "S3", "The portal"
# Without these operations no document can be stored. A refused deletion holds no job.
NEEDED_OF_STORE = ("PUT", "HEAD")

IS_IN_FORCE = ServiceRefusal.see_time > time_after(-IN_FORCE_S)
HOLDS_STORE = (
    IS_IN_FORCE & (ServiceRefusal.part == STORE) & ServiceRefusal.operation.in_(NEEDED_OF_STORE)
)
HOLDS_PORTAL = IS_IN_FORCE & (ServiceRefusal.part == PORTAL)


class RefusalWatch:
    """Log and publish the refusals of `part` in this process. Thread-safe; never raises.

    Without a `database` it only logs.
    """

    def __init__(self, part: str, database: Database | None = None) -> None:
        self._part = part
        self._database = database
        self._log = OutageLog(part)
        self._lock = threading.Lock()
        # Operations that have succeeded in this process since the last refusal.
        self._accepted: set[str] = set()
        self._written: dict[str, float] = {}

    def failed(self, operation: str, error: ServiceUnavailable) -> None:
        """Record a failed operation."""
        self._log.failed(operation, error)
        if self._database is None or not isinstance(error, ServiceRefused):
            return
        with self._lock:
            self._accepted.discard(operation)
            now = time.monotonic()
            if now - self._written.get(operation, float("-inf")) < WRITE_EVERY_S:
                return
            self._written[operation] = now
        with contextlib.suppress(ServiceUnavailable):
            publish(self._database, self._part, operation, error)

    def succeeded(self, operation: str) -> None:
        """Record a success. The first one ends the refusal, in whichever process it occurred."""
        self._log.succeeded(operation)
        if self._database is None or operation in self._accepted:
            return
        with contextlib.suppress(ServiceUnavailable):
            withdraw(self._database, self._part, operation)
            with self._lock:
                self._written.pop(operation, None)
                self._accepted.add(operation)


def publish(database: Database, part: str, operation: str, error: ServiceRefused) -> None:
    """Write the row of a refusal. If it is the portal's, pause requests.

    Raises ServiceUnavailable.
    """
    with database.transaction() as transaction:
        since_s = _write(transaction, part, operation, error)
        if part == PORTAL:
            pause_s = min(PAUSE_MAX_S, max(PAUSE_MIN_S, since_s))
            until = fn.greatest(PortalThrottle.paused_until, time_after(pause_s))
            transaction.execute(PortalThrottle.update(paused_until=until, paused_client=None))


def _write(transaction: Transaction, part: str, operation: str, error: ServiceRefused) -> float:
    """Write the row. Return for how many seconds the operation has been refused."""
    now = fn.clock_timestamp()
    since = Case(None, [(IS_IN_FORCE, ServiceRefusal.since_time)], now)
    written = (
        ServiceRefusal.insert(
            part=part, operation=operation, code=error.code, answer=error.answer[:ANSWER_CAP]
        )
        .on_conflict(
            conflict_target=[ServiceRefusal.part, ServiceRefusal.operation],
            update={
                ServiceRefusal.code: EXCLUDED.code,
                ServiceRefusal.answer: EXCLUDED.answer,
                ServiceRefusal.since_time: since,
                ServiceRefusal.see_time: now,
            },
        )
        .returning(fn.date_part("epoch", now - ServiceRefusal.since_time))
        .tuples()
    )
    return float(transaction.fetch_one(written)[0])


def withdraw(database: Database, part: str, operation: str) -> None:
    """Delete the row of a refusal that has ended. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        transaction.execute(
            ServiceRefusal.delete().where(
                ServiceRefusal.part == part, ServiceRefusal.operation == operation
            )
        )


def holds() -> Any:
    """Return the query for refusals that hold jobs: `untrusted`, and the `store_code` or None."""
    code = ServiceRefusal.select(fn.min(ServiceRefusal.code)).where(HOLDS_STORE)
    untrusted = fn.EXISTS(ServiceRefusal.select(ServiceRefusal.part).where(HOLDS_PORTAL))
    return Select(columns=[code.alias("store_code"), untrusted.alias("untrusted")]).dicts()


def troubles(database: Database, part: str) -> list[str]:
    """Return the refusals of `part`, a sentence each; empty if none. Raises ServiceUnavailable."""
    query = ServiceRefusal.select().where(IS_IN_FORCE, ServiceRefusal.part == part)
    with database.autocommit() as transaction:
        rows: list[Any] = transaction.fetch(query.order_by(ServiceRefusal.operation))
    return [ServiceRefused(part, row.operation, row.code, row.answer).detail for row in rows]
