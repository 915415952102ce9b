"""Subscriptions as callers see them: made, ended, listed, counted, and paused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import EXCLUDED, SQL, Case, fn

from storage.errors import LimitReached, NotFound
from storage.models import Job, Subscription
from storage.models.base import fields_of, time_after
from storage.models.job import RUNNING
from storage.postgres.database import Database, Transaction
from storage.postgres.page_bytes import within_page_bytes
from storage.states import WebhookState
from storage.webhook_policy import receiver_of

# Seconds within which the first look at a case begins.
FIRST_LOOK_S = 30.0
# Events in a row that a receiver accepts in no attempt before its subscription is paused.
MOST_FAILED = 10
GONE = 410
RECEIVER_GONE, RECEIVER_FAILS = "RECEIVER_GONE", "RECEIVER_FAILS"


@dataclass(frozen=True, slots=True)
class WatchedCase:
    """A SubscribeCase with checked fields.

    `selection`: of new documents, as values for JSON; None for all. `most`: how many cases the
    client may watch, None for any number.
    """

    client: str
    process_number: str
    interval_s: int
    webhook_url: str | None
    selection: Mapping[str, Any] | None
    list_only: bool
    labels: Mapping[str, str]
    most: int | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionRecord:
    """A subscription. `next_time` is None while it is paused."""

    process_number: str
    interval_s: int
    webhook_url: str | None
    selection: Mapping[str, Any] | None
    list_only: bool
    labels: Mapping[str, str]
    create_time: datetime
    next_time: datetime | None
    last_job_id: UUID | None
    last_change_time: datetime | None


_FIELDS = fields_of(Subscription, SubscriptionRecord)
_GIVEN = ("interval_s", "webhook_url", "receiver", "selection", "list_only", "labels")


def _is_it(client: str, process_number: str) -> Any:
    return (Subscription.client == client) & (Subscription.process_number == process_number)


def subscribe(database: Database, wanted: WatchedCase) -> SubscriptionRecord:
    """Watch a case, or replace how it is watched. Return the subscription.

    What the last look found stays, so that no change between the two is missed. Raises
    LimitReached.
    """
    with database.transaction() as transaction:
        if wanted.most is not None:
            # Without the lock, concurrent calls could exceed the limit.
            transaction.value(_lock(f"subscriptions {wanted.client}"))
            _require_room(transaction, wanted, wanted.most)
        row = transaction.fetch_one(_upsert(wanted).returning(*_FIELDS).dicts())
    return SubscriptionRecord(**row)


def _lock(name: str) -> Any:
    return fn.pg_advisory_xact_lock(fn.hashtextextended(name, 0)).cast("text")


def _upsert(wanted: WatchedCase) -> Any:
    given, url = asdict(wanted), wanted.webhook_url
    del given["most"]
    now = fn.clock_timestamp()
    # Another interval counts from now. An earlier look stays.
    sooner = Case(
        None,
        [
            (Subscription.next_time.is_null(), EXCLUDED.next_time),
            (Subscription.interval_s == EXCLUDED.interval_s, Subscription.next_time),
        ],
        fn.LEAST(
            Subscription.next_time, now + fn.random() * EXCLUDED.interval_s * SQL("interval '1 s'")
        ),
    )
    return Subscription.insert(
        **given,
        receiver=url and receiver_of(url),
        next_time=time_after(fn.random() * FIRST_LOOK_S),
    ).on_conflict(
        conflict_target=[Subscription.client, Subscription.process_number],
        update={
            **{name: getattr(EXCLUDED, name) for name in _GIVEN},
            "next_time": sooner,
            "paused_reason": None,
            "failed_events": 0,
        },
    )


def _require_room(transaction: Transaction, wanted: WatchedCase, most: int) -> None:
    others = Subscription.select(fn.count(SQL("*")).alias("count")).where(
        Subscription.client == wanted.client,
        Subscription.process_number != wanted.process_number,
    )
    if transaction.fetch_one(others.dicts())["count"] < most:
        return
    known = Subscription.select(Subscription.client).where(
        _is_it(wanted.client, wanted.process_number)
    )
    # A lowered limit ends no subscription, and refuses no change of one.
    if transaction.fetch_one(known.dicts()) is None:
        raise LimitReached("subscriptions", wanted.client, most)


def unsubscribe(database: Database, client: str, process_number: str) -> None:
    """End watching a case, and a look at it that is under way. Raises NotFound."""
    look = Job.delete().where(
        Job.client == client,
        Job.process_number == process_number,
        Job.state.in_(RUNNING),
        Job.is_look == SQL("true"),
    )
    with database.transaction() as transaction:
        # Jobs are always locked first.
        transaction.execute(look)
        if not transaction.execute(Subscription.delete().where(_is_it(client, process_number))):
            raise NotFound("subscription", process_number)


def page(
    database: Database, client: str, after: str, size: int
) -> tuple[list[SubscriptionRecord], bool]:
    """Return up to `size` subscriptions after the case of number `after`, by their numbers.

    Also return whether there are more. If their selections are long, the page has fewer of them,
    but at least one.
    """
    query = (
        Subscription.select(*_FIELDS)
        .where(Subscription.client == client, Subscription.process_number > after)
        .order_by(Subscription.process_number)
        .limit(size + 1)
    )
    first = within_page_bytes(
        query,
        [field.name for field in _FIELDS],
        ["process_number"],
        ["selection"],
    )
    with database.autocommit() as transaction:
        rows = transaction.fetch(first)
    shown = rows[:size]
    return (
        [SubscriptionRecord(**{f.name: row[f.name] for f in _FIELDS}) for row in shown],
        bool(shown) and shown[0]["found"] > len(shown),
    )


def count(database: Database, client: str) -> int:
    """Return how many cases a client watches. Raises ServiceUnavailable."""
    query = Subscription.select(fn.count(SQL("*")).alias("count")).where(
        Subscription.client == client
    )
    with database.autocommit() as transaction:
        return int(transaction.fetch_one(query.dicts())["count"])


def record_delivery(
    transaction: Transaction,
    client: str,
    process_number: str,
    url: str,
    state: WebhookState,
    status_code: int,
) -> None:
    """Record how the delivery of a `case.changed` to `url` ended. Nothing if the address changed.

    The subscription is paused if its receiver accepts no more events.
    """
    if state is WebhookState.PENDING:
        return
    is_it = _is_it(client, process_number) & (Subscription.webhook_url == url)
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
