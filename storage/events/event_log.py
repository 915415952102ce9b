"""A client's log of events, as callers read it, and what is deleted of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import fn

from storage import sql
from storage.errors import EventsGone
from storage.models import Event, EventNumbers, Job, Webhook
from storage.models.base import fields_of, is_any, time_after
from storage.models.job import IS_NO_LOOK
from storage.postgres.database import Database, Transaction
from storage.postgres.page_bytes import within_page_bytes
from storage.records import DocumentRecord, JobRecord
from storage.states import WebhookState

# Events that one call of the deletion handles.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event without its documents. `number`: its place in the client's log.

    `job`: the job as it ended, or `change`: how a watched case differs; the other one is None.
    """

    event_id: UUID
    number: int
    type: str
    event_time: datetime
    job: JobRecord | None
    change: Mapping[str, Any] | None = None

    @property
    def webhook_id(self) -> str:
        """Return the webhook-id that its deliveries to the job's first receiver carry."""
        return f"msg_{self.event_id.hex}"


def supersede(transaction: Transaction, job_id: UUID, run: int) -> None:
    """Freeze the documents of a run's event. Call this before another run changes them."""
    frozen = fn.COALESCE(Event.documents, _live_documents())
    transaction.execute(
        Event.update(documents=frozen, is_superseded=True).where(
            Event.job_id == job_id, Event.run == run
        )
    )


def _live_documents() -> Any:
    return getattr(fn, sql.function("event_documents").name)(Event.job_id)


def _number(transaction: Transaction, client: str) -> int:
    """Give numbers to events of a client that have none. Return how many got one."""
    row = transaction.only(sql.function("number_events").call, client=client)
    return int(next(iter(row.values())))


def page(database: Database, client: str, after: int, size: int) -> tuple[list[LoggedEvent], bool]:
    """Return up to `size` events of the log after number `after` (0: from the oldest), in order.

    Fewer if they are long. The second value is whether there are more events now. Raises EventsGone
    if events after that number were deleted, or if the log ends before it.
    """
    names = [field.name for field in fields_of(Event, LoggedEvent)]
    newer = (
        Event.select(*fields_of(Event, LoggedEvent))
        .where(Event.client == client, Event.number > after)
        .order_by(Event.number)
        .limit(size + 1)
    )
    with database.transaction() as transaction:
        _number(transaction, client)
        numbers = transaction.fetch_one(
            EventNumbers.select().where(EventNumbers.client == client).dicts()
        )
        if after and (
            numbers is None or not numbers["deleted_number"] <= after <= numbers["last_number"]
        ):
            raise EventsGone
        rows = transaction.fetch(within_page_bytes(newer, names, ["number"], ["job", "change"]))
    has_more = bool(rows) and rows[0]["found"] > len(rows[:size])
    return [_logged({name: row[name] for name in names}) for row in rows[:size]], has_more


def _logged(row: dict[str, Any]) -> LoggedEvent:
    return LoggedEvent(**{**row, "job": row["job"] and JobRecord.of_json(row["job"])})


def documents(database: Database, event: LoggedEvent) -> tuple[DocumentRecord, ...]:
    """Return the documents of an event as they were when the run ended; none of a change."""
    if event.job is None:
        return ()
    query = Event.select(fn.COALESCE(Event.documents, _live_documents()).alias("documents"))
    with database.autocommit() as transaction:
        row = transaction.fetch_one(query.where(Event.event_id == event.event_id).dicts())
    return tuple(DocumentRecord.of_json(each) for each in (row or {}).get("documents", ()))


def last_numbers(database: Database, clients: Collection[str]) -> Mapping[str, int]:
    """Return the number of the newest event in the log of each client that has any.

    An event that has no number yet counts as one above the last number.
    """
    numbers = EventNumbers.select(EventNumbers.client, EventNumbers.last_number).where(
        is_any(EventNumbers.client, clients)
    )
    waiting = Event.select(Event.client).where(
        is_any(Event.client, clients), Event.number.is_null()
    )
    with database.transaction() as transaction:
        found = dict(transaction.fetch(numbers.tuples()))
        for (client,) in transaction.fetch(waiting.distinct().tuples()):
            found[client] = found.get(client, 0) + 1
    return found


def delete_old(database: Database, *, age_s: float) -> int:
    """Delete events older than `age_s` seconds, but for the newest end of each job.

    Return their number; BATCH at most, so that no transaction is long.
    """
    is_sent = Webhook.select(Webhook.job_id).where(
        Webhook.event_id == Event.event_id, Webhook.state == WebhookState.PENDING
    )
    old = (
        Event.select(Event.event_id, Event.client)
        .where(Event.is_superseded, Event.event_time < time_after(-age_s), ~fn.EXISTS(is_sent))
        .order_by(Event.event_time)
        .limit(BATCH)
    )
    with database.autocommit() as transaction:
        found = transaction.fetch(old.dicts())
    for client in sorted({row["client"] for row in found}):
        _delete(database, client, [row["event_id"] for row in found if row["client"] == client])
    return len(found)


def _delete(database: Database, client: str, event_ids: Sequence[UUID]) -> None:
    with database.transaction() as transaction:
        # A deleted event must have had a number, so that a reader that missed it learns so.
        while _number(transaction, client):
            pass
        # The event of a change has a webhook of its own.
        transaction.execute(Webhook.delete().where(is_any(Webhook.event_id, event_ids)))
        going: Any = Event.delete().where(is_any(Event.event_id, event_ids))
        gone = transaction.fetch(going.returning(Event.number, Event.job_id).dicts())
        # A look that became no job holds nothing but its event.
        job_ids = {row["job_id"] for row in gone}
        transaction.execute(Job.delete().where(is_any(Job.job_id, job_ids), ~IS_NO_LOOK))
        numbers = [row["number"] for row in gone]
        if numbers:
            transaction.execute(
                EventNumbers.update(
                    deleted_number=fn.GREATEST(EventNumbers.deleted_number, max(numbers))
                ).where(EventNumbers.client == client)
            )
