"""Test events as rows: a server creates one, a notifier sends it once.

The server reads what came of it, and deletes the row. The scheduler deletes the rows of a server
that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from peewee import fn

from storage.errors import ServiceUnavailable
from storage.models import WebhookTest
from storage.models.base import fields_of, time_after
from storage.postgres.database import Database
from storage.webhook_policy import receiver_of
from storage.webhooks import delivery_limits
from storage.webhooks.delivery_limits import DEFAULT_LIMITS, DeliveryLimits

# Seconds after which a test is sent no more: its call has ended without an answer.
EXPIRY_S = 15.0
# Seconds after which a row is of no call.
OLD_S = 300.0

_IS_UNSENT = WebhookTest.lease_until.is_null() & WebhookTest.attempt_time.is_null()
_IS_CURRENT = WebhookTest.create_time > time_after(-EXPIRY_S)


@dataclass(frozen=True, slots=True)
class ClaimedTest:
    """A test event that this process sends. `url`: it may contain secrets."""

    test_id: UUID
    client: str
    url: str
    receiver: str
    create_time: datetime

    @property
    def webhook_id(self) -> str:
        """Return the webhook-id of the event."""
        return f"msg_{self.test_id.hex}"


@dataclass(frozen=True, slots=True)
class TriedTest:
    """What became of a test event. `status_code` is 0 if there was no answer."""

    attempt_time: datetime
    status_code: int
    error: str


def create(database: Database, client: str, url: str) -> UUID:
    """Insert a test event to a checked URL. Return its id. Raises ServiceUnavailable."""
    test_id = uuid4()
    row = WebhookTest.insert(test_id=test_id, client=client, url=url, receiver=receiver_of(url))
    with database.autocommit() as transaction:
        transaction.execute(row)
    return test_id


def claim(
    database: Database,
    test_id: UUID,
    *,
    lease_s: float,
    limits: DeliveryLimits = DEFAULT_LIMITS,
) -> ClaimedTest | None:
    """Take the test event for its one attempt. None: it is taken, expired, or has to wait.

    It waits while its client or its receiver has as many deliveries as may be under way.
    """
    with database.transaction() as transaction:
        if not delivery_limits.has_room_for_test(transaction, test_id, limits):
            return None
        row = transaction.fetch_one(
            WebhookTest.update(lease_until=time_after(lease_s))
            .where(WebhookTest.test_id == test_id, _IS_UNSENT, _IS_CURRENT)
            .returning(*fields_of(WebhookTest, ClaimedTest))
            .dicts()
        )
    return ClaimedTest(**row) if row else None


def record(
    database: Database, test: ClaimedTest, *, status_code: int, error: str, is_timeout: bool = False
) -> None:
    """Record what became of the attempt. `status_code` is 0 if there was no answer.

    Callers can read `error`. `is_timeout`: the receiver was too slow. Raises ServiceUnavailable.
    """
    tried = WebhookTest.update(
        lease_until=None,
        attempt_time=fn.clock_timestamp(),
        status_code=status_code,
        error=error,
    )
    with database.transaction() as transaction:
        transaction.execute(tried.where(WebhookTest.test_id == test.test_id))
        delivery_limits.record_outcome(
            transaction, test.client, test.receiver, status_code, is_timeout=is_timeout
        )


def take_answer(database: Database, test_id: UUID) -> TriedTest | None:
    """Return what became of a test event, and delete it. None: it has not been sent yet.

    Raises ServiceUnavailable, also if no notifier took it in time, or the one that did was lost.
    """
    is_tried = WebhookTest.attempt_time.is_null(False)
    is_lost = (_IS_UNSENT & ~_IS_CURRENT) | (WebhookTest.lease_until < fn.clock_timestamp())
    with database.autocommit() as transaction:
        row = transaction.fetch_one(
            WebhookTest.delete()
            .where(WebhookTest.test_id == test_id, is_tried | is_lost)
            .returning(WebhookTest.attempt_time, WebhookTest.status_code, WebhookTest.error)
            .dicts()
        )
    if row is not None and row["attempt_time"] is None:
        raise ServiceUnavailable("The notifier")
    return TriedTest(**row) if row else None


def next_test(database: Database) -> UUID | None:
    """Return a test event that may still be sent, None without one.

    At random, so that one that has to wait does not delay the others.
    """
    waiting = WebhookTest.select(WebhookTest.test_id).where(_IS_UNSENT, _IS_CURRENT)
    with database.autocommit() as transaction:
        row = transaction.fetch_one(waiting.order_by(fn.random()).limit(1).dicts())
    return row["test_id"] if row else None


def delete_old(database: Database) -> int:
    """Delete the test events of calls that have got no answer. Return their number."""
    old = WebhookTest.create_time < time_after(-OLD_S)
    with database.autocommit() as transaction:
        return transaction.execute(WebhookTest.delete().where(old))
