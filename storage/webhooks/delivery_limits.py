"""How many webhooks are sent at once, so that no client can stop the webhooks of another.

A client's deliveries are counted alone: those of other clients to the same receiver do not count.
A receiver that timed out holds a thread of a notifier for a long time. Until it answers, its client
has one delivery to it at a time. Test events count as webhooks do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import SQL, fn

from storage import sql
from storage.models import SilentReceiver, Webhook, WebhookTest
from storage.postgres.database import Database, Row, Transaction
from storage.settings import Settings

# How many due webhooks of a client are considered. If their receivers are all busy, the others wait
# for their own messages.
WINDOW = 100


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Deliveries of one client at once, over all notifiers: in all, and to one receiver."""

    per_client: int = 8
    # So that a dead receiver does not take all of them.
    per_receiver: int = 4

    @classmethod
    def of(cls, settings: Settings) -> DeliveryLimits:
        """Return the limits of these settings."""
        return cls(settings.client_webhooks_at_once, settings.client_webhooks_per_receiver)


DEFAULT_LIMITS = DeliveryLimits()


def locked_if_room(
    transaction: Transaction, job_id: UUID, position: int, limits: DeliveryLimits = DEFAULT_LIMITS
) -> Row | None:
    """Return the webhook's lease if its client and its receiver may have one more delivery.

    Until the end of the transaction no other claim of the client can count the deliveries.
    """
    held: Row | None = transaction.fetch_one(
        Webhook.select(Webhook.client, Webhook.receiver, Webhook.lease, _lock(Webhook))
        .where(Webhook.job_id == job_id, Webhook.position == position)
        .dicts()
    )
    # In a separate statement, so that it sees what was committed before the lock was obtained.
    return held if held and _has_room(transaction, held, limits) else None


def has_room_for_test(transaction: Transaction, test_id: UUID, limits: DeliveryLimits) -> bool:
    """Return whether the client and the receiver of a test event may have one more delivery.

    Until the end of the transaction no other claim of the client can count the deliveries.
    """
    held: Row | None = transaction.fetch_one(
        WebhookTest.select(WebhookTest.client, WebhookTest.receiver, _lock(WebhookTest))
        .where(WebhookTest.test_id == test_id)
        .dicts()
    )
    return held is not None and _has_room(transaction, held, limits)


def _lock(model: Any) -> Any:
    return fn.pg_advisory_xact_lock(fn.hashtextextended(model.client.concat(" webhooks"), 0))


def _has_room(transaction: Transaction, held: Row, limits: DeliveryLimits) -> bool:
    client, receiver = held["client"], held["receiver"]
    silent = SilentReceiver.select(SilentReceiver.client).where(*_is(client, receiver))
    webhooks, tests = (
        model.select(
            fn.count(SQL("*")).alias("of_client"),
            fn.count(SQL("*")).filter(model.receiver == receiver).alias("of_receiver"),
            fn.EXISTS(silent).alias("is_silent"),
        ).where(model.client == client, model.lease_until >= fn.clock_timestamp())
        for model in (Webhook, WebhookTest)
    )
    under_way = transaction.fetch(
        webhooks.where(Webhook.lease.is_null(False)).union_all(tests).dicts()
    )
    most = 1 if under_way[0]["is_silent"] else limits.per_receiver
    of_client, of_receiver = (
        sum(each[name] for each in under_way) for name in ("of_client", "of_receiver")
    )
    return bool(of_client < limits.per_client and of_receiver < most)


def next_webhook(
    database: Database, client: str | None = None, *, limits: DeliveryLimits = DEFAULT_LIMITS
) -> tuple[UUID, int] | None:
    """Return the due webhook whose turn it is, None if there is none that may be sent.

    Clients take turns: the one with the fewest deliveries is next. `client`: only its webhooks.
    Raises ServiceUnavailable.
    """
    with database.autocommit() as transaction:
        rows = transaction.all(
            sql.statement("next_webhook"),
            client=client,
            of_client=limits.per_client,
            of_receiver=limits.per_receiver,
            window=WINDOW,
        )
    return (rows[0]["job_id"], rows[0]["position"]) if rows else None


def record_outcome(
    transaction: Transaction, client: str, receiver: str, status_code: int, *, is_timeout: bool
) -> None:
    """Record whether a client's receiver answered, with any status, or timed out.

    `status_code` is 0 if there was no answer.
    """
    if status_code:
        transaction.execute(SilentReceiver.delete().where(*_is(client, receiver)))
    elif is_timeout:
        transaction.execute(
            SilentReceiver.insert(client=client, receiver=receiver).on_conflict_ignore()
        )


def _is(client: str, receiver: str) -> tuple[Any, ...]:
    return SilentReceiver.client == client, SilentReceiver.receiver == receiver
