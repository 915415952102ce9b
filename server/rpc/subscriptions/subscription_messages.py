"""Conversion of subscriptions to the contract's messages."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from storage.subscriptions.subscription_rows import SubscriptionRecord
from storage.webhook_policy import display


def subscription_message(record: SubscriptionRecord) -> pb.Subscription:
    """Return the message of a subscription."""
    selection = record.selection
    return pb.Subscription(
        process_number=record.process_number,
        interval=Duration(seconds=record.interval_s),
        webhook_url=display(record.webhook_url) if record.webhook_url else "",
        selection=None if selection is None else pb.Selection(**selection),
        list_only=record.list_only,
        labels=record.labels,
        create_time=timestamp(record.create_time),
        next_time=timestamp(record.next_time),
        last_job_id=str(record.last_job_id or ""),
        last_change_time=timestamp(record.last_change_time),
    )
