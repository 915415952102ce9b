"""Pause the subscriptions of receivers that accept no more events."""

from __future__ import annotations

from typing import Protocol

from peewee import Case

from storage.models import Subscription
from storage.postgres.database import Transaction
from storage.states import WebhookState

# Events in a row that a receiver accepts in no attempt before its subscription is paused.
MOST_FAILED = 10
GONE = 410
RECEIVER_GONE, RECEIVER_FAILS = "RECEIVER_GONE", "RECEIVER_FAILS"


class Delivery(Protocol):
    """The delivery of a `case.changed`."""

    @property
    def client(self) -> str:
        """Return the client of the subscription."""

    @property
    def url(self) -> str:
        """Return the address that the event was sent to."""

    @property
    def process_number(self) -> str:
        """Return the number of the watched case."""


def record(
    transaction: Transaction, delivery: Delivery, state: WebhookState, status_code: int
) -> None:
    """Record the end of a delivery for its subscription, if that has the same address still."""
    if state is WebhookState.PENDING:
        return
    is_it = (
        (Subscription.client == delivery.client)
        & (Subscription.process_number == delivery.process_number)
        & (Subscription.webhook_url == delivery.url)
    )
    if state is WebhookState.DELIVERED:
        transaction.execute(
            Subscription.update(failed_events=0).where(is_it, Subscription.failed_events > 0)
        )
        return
    failed = Subscription.failed_events + 1
    if status_code == GONE:
        pauses, reason = Subscription.client == Subscription.client, RECEIVER_GONE
    else:
        pauses, reason = failed >= MOST_FAILED, RECEIVER_FAILS
    transaction.execute(
        Subscription.update(
            failed_events=failed,
            next_time=Case(None, [(pauses, None)], Subscription.next_time),
            paused_reason=Case(None, [(pauses, reason)], Subscription.paused_reason),
        ).where(is_it)
    )
