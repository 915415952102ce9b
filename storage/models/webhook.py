"""Ends of runs, the webhooks that carry them, and the log of attempts."""

from __future__ import annotations

from peewee import CompositeKey, Default, IntegerField, TextField, UUIDField
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, one_of, reference
from storage.models.job import Job
from storage.states import JOB_ENDS, WebhookState

_PENDING = WebhookState.PENDING


class Event(BaseModel):
    """The end of a run: the frozen content of its webhooks."""

    event_id = UUIDField(primary_key=True)
    job_id = reference(Job, on_delete="CASCADE")
    run = IntegerField()
    type = TextField()
    event_time = DateTimeTZField()
    # Null if the job had no webhook.
    job = BinaryJSONField(null=True, index=False)
    documents = BinaryJSONField(null=True, index=False)

    class Meta:
        """A CHECK: the types are those of the contract."""

        table_name = "events"
        constraints = checks(
            "events", type=one_of("type", sorted(f"download.{end.lower()}" for end in JOB_ENDS))
        )


# A run ends once.
Event.add_index(Event.job_id, Event.run, unique=True, name="events_run")


class Webhook(BaseModel):
    """A URL that receives the end of a job's run. Its legal moves: storage/states.py."""

    job_id = reference(Job, on_delete="CASCADE")
    position = IntegerField()
    url = TextField()
    # scheme://host:port of the URL. It groups the concurrent deliveries to one receiver.
    receiver = TextField(constraints=[Default("''")])
    state = TextField()
    event_id = reference(Event, null=True)
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
Webhook.add_index(Webhook.job_id, Webhook.url, unique=True, name="webhooks_url")
Webhook.add_index(Webhook.webhook_id, unique=True, name="webhooks_webhook_id")
Webhook.add_index(Webhook.next_attempt_time, where=Webhook.state == _PENDING, name="webhooks_due")
Webhook.add_index(Webhook.receiver, where=Webhook.lease.is_null(False), name="webhooks_busy")
Webhook.add_index(
    Webhook.receiver,
    Webhook.next_attempt_time,
    where=Webhook.state == _PENDING,
    name="webhooks_queue",
)
Webhook.add_index(Webhook.event_id, where=Webhook.event_id.is_null(False), name="webhooks_of_event")


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
