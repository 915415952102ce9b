"""Ends of runs, the webhooks that carry them, and the log of attempts."""

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Default,
    IntegerField,
    TextField,
    UUIDField,
)
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, one_of, reference, timestamp_now
from storage.models.job import Job
from storage.states import JOB_ENDS, WebhookState

_PENDING = WebhookState.PENDING


CASE_CHANGED = "case.changed"
# The position of the webhook that carries `case.changed`. The ends of the job's runs go to others.
CHANGE_POSITION = -1


class Event(BaseModel):
    """The end of a run, or the change of a watched case: an entry of the client's log.

    It has the frozen content of its webhooks. A change belongs to the look that found it, as run 0.
    """

    event_id = UUIDField(primary_key=True)
    client = TextField()
    # Its place in the client's log (number_events.sql); null until the log is read.
    number = BigIntegerField(null=True)
    job_id = reference(Job, on_delete="CASCADE")
    run = IntegerField()
    type = TextField()
    event_time = DateTimeTZField()
    # The job as it ended.
    job = BinaryJSONField(null=True, index=False)
    # Null while the job's rows still have them: it has no webhook and began no other run.
    documents = BinaryJSONField(null=True, index=False)
    # Of case.changed: what is different, as storage/subscriptions/case_change.py makes it.
    change = BinaryJSONField(null=True, index=False)
    # Whether the job has begun another run, or the event is no end of one. Only such events are
    # ever deleted.
    is_superseded = BooleanField(constraints=[Default("false")])

    class Meta:
        """A CHECK: the types are those of the contract."""

        table_name = "events"
        constraints = checks(
            "events",
            type=one_of(
                "type", [CASE_CHANGED, *sorted(f"download.{end.lower()}" for end in JOB_ENDS)]
            ),
            job_or_change="(job IS NULL) = (type = 'case.changed')"
            " AND (change IS NULL) = (job IS NOT NULL)",
            number="number > 0",
        )


# A run ends once.
Event.add_index(Event.job_id, Event.run, unique=True, name="events_run")
Event.add_index(Event.client, Event.number, unique=True, name="events_numbered")
Event.add_index(
    Event.client,
    Event.event_time,
    Event.event_id,
    where=Event.number.is_null(),
    name="events_without_number",
)
Event.add_index(Event.event_time, where=Event.is_superseded, name="events_superseded")


class EventNumbers(BaseModel):
    """The numbers of a client's log. Its row is locked while events get theirs."""

    client = TextField(primary_key=True)
    last_number = BigIntegerField(constraints=[Default(0)])
    # The highest number that was deleted: a reader that stopped before it has missed events.
    deleted_number = BigIntegerField(constraints=[Default(0)])

    class Meta:
        """A CHECK: nothing is deleted that had no number."""

        table_name = "event_numbers"
        constraints = checks("event_numbers", deleted="deleted_number BETWEEN 0 AND last_number")


class Webhook(BaseModel):
    """A URL that receives the end of a job's run. Its legal moves: storage/states.py."""

    job_id = reference(Job, on_delete="CASCADE")
    position = IntegerField()
    # The job's client. It groups the concurrent deliveries.
    client = TextField(constraints=[Default("''")])
    url = TextField()
    # scheme://host:port of the URL. It groups the concurrent deliveries of the client.
    receiver = TextField(constraints=[Default("''")])
    state = TextField()
    event_id = reference(Event, null=True)
    # That of the first receiver is the event's own, which ListEvents gives, too.
    webhook_id = TextField(null=True)
    attempt_count = IntegerField(constraints=[Default(0)])
    # Attempts before the current delivery began: RedeliverWebhook restarts the schedule.
    earlier_attempt_count = IntegerField(constraints=[Default(0)])
    last_status_code = IntegerField(constraints=[Default(0)])
    last_error = TextField(constraints=[Default("''")])
    delivered_time = DateTimeTZField(null=True)
    next_attempt_time = DateTimeTZField(null=True)
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    nudge_count = IntegerField(constraints=[Default(0)])
    nudge_time = DateTimeTZField(null=True)

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "webhooks"
        primary_key = CompositeKey("job_id", "position")
        constraints = checks(
            "webhooks",
            state=one_of("state", WebhookState),
            waiting_has_no_event="(state = 'WAITING') = (event_id IS NULL)",
            event_has_webhook_id="(event_id IS NULL) = (webhook_id IS NULL)",
            pending_has_next_attempt="(state = 'PENDING') = (next_attempt_time IS NOT NULL)",
            delivered_has_time="(state = 'DELIVERED') = (delivered_time IS NOT NULL)",
            lease_has_end="(lease IS NULL) = (lease_until IS NULL)",
            lease_while_pending="state = 'PENDING' OR lease IS NULL",
        )


# At most 2,048 ASCII characters, so it fits an index page.
Webhook.add_index(
    Webhook.job_id,
    Webhook.url,
    unique=True,
    where=Webhook.position > CHANGE_POSITION,
    name="webhooks_url",
)
Webhook.add_index(Webhook.webhook_id, unique=True, name="webhooks_webhook_id")
Webhook.add_index(Webhook.next_attempt_time, where=Webhook.state == _PENDING, name="webhooks_due")
Webhook.add_index(
    Webhook.client, Webhook.receiver, where=Webhook.lease.is_null(False), name="webhooks_busy"
)
Webhook.add_index(
    Webhook.client,
    Webhook.next_attempt_time,
    where=Webhook.state == _PENDING,
    name="webhooks_queue",
)
Webhook.add_index(Webhook.event_id, where=Webhook.event_id.is_null(False), name="webhooks_of_event")


class SilentReceiver(BaseModel):
    """A client's receiver that timed out and has not answered since."""

    client = TextField()
    receiver = TextField()

    class Meta:
        """One row for each receiver of a client."""

        table_name = "silent_receivers"
        primary_key = CompositeKey("client", "receiver")


class WebhookAttempt(BaseModel):
    """One attempt to send a webhook; `status_code` is 0 if there was no answer."""

    webhook_id = TextField()
    number = IntegerField()
    job_id = reference(Job, on_delete="CASCADE")
    attempt_time = DateTimeTZField()
    status_code = IntegerField(constraints=[Default(0)])
    error = TextField(constraints=[Default("''")])

    class Meta:
        """A CHECK: attempts are numbered from 1."""

        table_name = "webhook_attempts"
        primary_key = CompositeKey("webhook_id", "number")
        constraints = checks("webhook_attempts", number="number > 0")


WebhookAttempt.add_index(WebhookAttempt.job_id, name="webhook_attempts_of_job")


class WebhookTest(BaseModel):
    """A test event. It is sent once at most, and deleted with the call's answer."""

    test_id = UUIDField(primary_key=True)
    client = TextField()
    url = TextField()
    # scheme://host:port of the URL, as in webhooks.
    receiver = TextField()
    create_time = timestamp_now()
    # While a notifier sends it: until when it does so at most.
    lease_until = DateTimeTZField(null=True)
    # Null: not sent yet.
    attempt_time = DateTimeTZField(null=True)
    status_code = IntegerField(constraints=[Default(0)])
    error = TextField(constraints=[Default("''")])

    class Meta:
        """A CHECK: what is sent is not being sent."""

        table_name = "webhook_tests"
        constraints = checks(
            "webhook_tests", one_attempt="lease_until IS NULL OR attempt_time IS NULL"
        )


WebhookTest.add_index(
    WebhookTest.client, where=WebhookTest.lease_until.is_null(False), name="webhook_tests_busy"
)
