"""Test events that a notifier sends while a SendTestWebhook waits."""

from __future__ import annotations

from peewee import Default, IntegerField, TextField, UUIDField
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks, timestamp_now


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
