"""Watched cases."""

from __future__ import annotations

from peewee import (
    SQL,
    BooleanField,
    CompositeKey,
    Default,
    IntegerField,
    TextField,
    UUIDField,
)
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, timestamp_now


class Subscription(BaseModel):
    """A case that is listed again at an interval for a client. Each listing is a look."""

    client = TextField()
    process_number = TextField()
    court = TextField(
        constraints=[SQL("GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED")]
    )
    interval_s = IntegerField()
    webhook_url = TextField(null=True)
    # scheme://host:port of the URL, as in webhooks.
    receiver = TextField(null=True)
    # The selection of new documents as JSON, as in jobs; null: every new document.
    selection = BinaryJSONField(null=True, index=False)
    list_only = BooleanField(constraints=[Default("false")])
    labels = BinaryJSONField(index=False, constraints=[Default("'{}'")])
    create_time = timestamp_now()
    # The time of the next look. Null: paused, until the client subscribes again.
    next_time = DateTimeTZField(null=True)
    # No foreign key: without an index, each deletion of a job would read the whole table.
    last_job_id = UUIDField(null=True)
    last_change_time = DateTimeTZField(null=True)
    paused_reason = TextField(null=True)
    # Events in a row that the receiver did not accept in any attempt.
    failed_events = IntegerField(constraints=[Default(0)])
    # What the last look found, as storage/subscriptions/case_change.py makes it. Null: no look yet.
    baseline = BinaryJSONField(null=True, index=False)

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "subscriptions"
        primary_key = CompositeKey("client", "process_number")
        constraints = checks(
            "subscriptions",
            process_number=r"process_number ~ '^\d{7}-\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}$'",
            interval_s="interval_s > 0",
            failed_events="failed_events >= 0",
            url_has_receiver="(webhook_url IS NULL) = (receiver IS NULL)",
            paused_has_no_next_time="(paused_reason IS NULL) = (next_time IS NOT NULL)",
        )


Subscription.add_index(
    Subscription.next_time, where=Subscription.next_time.is_null(False), name="subscriptions_due"
)
