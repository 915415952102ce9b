"""Watch a case of the sandbox: subscribe, let the next look be due, and work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from storage.clients.client_registry import EVERY_CASE, CaseAccess
from storage.events import event_log
from storage.events.event_log import LoggedEvent
from storage.models import Job, Subscription
from storage.postgres.database import Database, Row
from storage.subscriptions import looks, subscription_rows
from storage.subscriptions.subscription_rows import SubscriptionRecord, WatchedCase
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.pipeline_harness import PipelineHarness

DEADLINE_S = 3_600.0


def watch(database: Database, number: str, **values: Any) -> SubscriptionRecord:
    """Do what SubscribeCase does."""
    given: dict[str, Any] = {
        "client": CLIENT,
        "interval_s": 86_400,
        "webhook_url": None,
        "selection": None,
        "list_only": False,
        "labels": {},
        **values,
    }
    return subscription_rows.subscribe(database, WatchedCase(process_number=number, **given))


def let_due(database: Database) -> None:
    """Let the next look of every subscription be due now."""
    factories.execute(
        database,
        "UPDATE subscriptions SET next_time = clock_timestamp() WHERE next_time IS NOT NULL",
    )


def start_looks(database: Database, access: Mapping[str, CaseAccess] | None = None) -> list[UUID]:
    """Do what the scheduler does once a second. Return the looks under way."""
    known = {CLIENT: EVERY_CASE} if access is None else access
    looks.start(database, known.get, deadline_s=DEADLINE_S)
    return [row["job_id"] for row in jobs(database) if row["is_look"] and not row["end_time"]]


def look(pipeline: PipelineHarness, access: Mapping[str, CaseAccess] | None = None) -> None:
    """Let all cases be due, start the looks, and work until nothing is left."""
    let_due(pipeline.database)
    start_looks(pipeline.database, access)
    pipeline.work()


def watched_case(pipeline: PipelineHarness, documents: int = 2, **values: Any) -> str:
    """Return the number of a watched case that was listed once."""
    number = pipeline.sandbox.add_case(documents=documents)
    watch(pipeline.database, number, **values)
    look(pipeline)
    return number


def jobs(database: Database) -> list[Row]:
    """Return all rows of jobs, looks included, in the order of their creation."""
    with database.transaction() as transaction:
        rows: list[Row] = transaction.fetch(Job.select().order_by(Job.create_time).dicts())
    return rows


def subscription(database: Database) -> Row:
    """Return the only subscription."""
    with database.transaction() as transaction:
        row: Row
        [row] = transaction.fetch(Subscription.select().dicts())
    return row


def changes(database: Database, client: str = CLIENT) -> list[LoggedEvent]:
    """Return the changes in the client's log."""
    return [each for each in event_log.page(database, client, 0, 100)[0] if each.change]
