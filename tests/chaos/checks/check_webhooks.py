"""Check that each end is delivered to each URL, signed, under one webhook-id of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import Acknowledgements
from tests.chaos.checks.snapshot import Snapshot
from tests.sandbox.receivers.deliveries import Delivery

CHANGED = "case.changed"
TYPES = {
    "JOB_STATE_COMPLETED": "download.completed",
    "JOB_STATE_PARTIALLY_COMPLETED": "download.partially_completed",
    "JOB_STATE_FAILED": "download.failed",
    "JOB_STATE_CANCELLED": "download.cancelled",
}


def check(ledger: Acknowledgements, seen: Snapshot) -> Iterator[str]:
    """Return a line for each problem with webhooks."""
    by_id: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in seen.deliveries:
        if not delivery.is_verified or not delivery.webhook_id:
            yield f"a delivery to {delivery.path} does not verify"
        else:
            by_id[delivery.webhook_id].append(delivery)
    yield from _changes(by_id)
    yield from _ids(by_id, seen)
    for job in seen.jobs.values():
        for hook in job.webhooks:
            yield from _delivered(job, hook, by_id)
    yield from _acknowledged(ledger, seen)
    for each in ledger.redeliveries:
        if len(by_id[each.webhook_id]) <= each.deliveries_before:
            yield f"webhook {each.webhook_id} of job {each.job_id} was not sent again"


def _changes(by_id: dict[str, list[Delivery]]) -> Iterator[str]:
    """Check that each change has one webhook-id."""
    sent: dict[str, set[str]] = defaultdict(set)
    for webhook_id, deliveries in by_id.items():
        for each in deliveries:
            if each.payload["type"] == CHANGED:
                sent[str(each.payload["data"])].add(webhook_id)
    for change, ids in sent.items():
        if len(ids) > 1:
            yield f"the change {change} had {len(ids)} webhook-ids"


def _ids(by_id: dict[str, list[Delivery]], seen: Snapshot) -> Iterator[str]:
    ends: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for webhook_id, deliveries in by_id.items():
        sent = {(each.path, str(_end(each.payload))) for each in deliveries}
        if len(sent) > 1:
            yield f"webhook {webhook_id} sent {len(sent)} different ends"
        for each in deliveries:
            if each.payload["type"] == CHANGED:
                continue
            job = each.payload["data"]["job"]
            ends[each.path, job["job_id"], job["end_time"]].add(webhook_id)
            if TYPES[job["state"]] != each.payload["type"]:
                yield f"webhook {webhook_id} calls {job['state']} a {each.payload['type']}"
            if job["job_id"] not in seen.jobs:
                yield f"webhook {webhook_id} names job {job['job_id']}, which does not exist"
    for (path, job_id, end_time), ids in ends.items():
        if len(ids) > 1:
            yield f"the end of job {job_id} at {end_time} had {len(ids)} webhook-ids at {path}"


def _end(payload: Any) -> Any:
    """Return the parts that every delivery of an end shares: all but the URLs."""
    documents = [
        {name: value for name, value in document.items() if not name.startswith("url")}
        for document in payload["data"].get("documents", [])
    ]
    return {**payload, "data": {**payload["data"], "documents": documents}}


def _delivered(job: pb.Job, hook: pb.Webhook, by_id: dict[str, list[Delivery]]) -> Iterator[str]:
    name = f"webhook {hook.webhook_id or '?'} of job {job.job_id} to {urlsplit(hook.url).path}"
    if hook.state != pb.WEBHOOK_STATE_DELIVERED:
        yield f"{name} is {pb.WebhookState.Name(hook.state)}: {hook.last_error}"
        return
    deliveries = by_id.get(hook.webhook_id, [])
    if not deliveries:
        yield f"{name} is DELIVERED, and the receiver has not got it"
    for delivery in deliveries:
        data = delivery.payload["data"]
        # The job of a watched case has the webhook of the change, too.
        sent = data.get("job")
        if sent is None and data.get("process_number") != job.process_number:
            yield f"{name} sent the change of {data.get('process_number')}"
        if sent and (sent["job_id"], sent["state"]) != (job.job_id, pb.JobState.Name(job.state)):
            yield f"{name} sent {sent['state']} of job {sent['job_id']}"
        if delivery.path != urlsplit(hook.url).path:
            yield f"{name} went to {delivery.path}"


def _acknowledged(ledger: Acknowledgements, seen: Snapshot) -> Iterator[str]:
    """Check that every acknowledged URL belongs to its job and was called about it."""
    called = {
        (each.path, each.payload["data"]["job"]["job_id"])
        for each in seen.deliveries
        if each.is_verified and each.payload["type"] != CHANGED
    }
    for start in ledger.starts:
        job = seen.jobs.get(start.job_id)
        if not start.path or job is None:
            continue
        if start.path not in {urlsplit(hook.url).path for hook in job.webhooks}:
            yield f"job {start.job_id} has lost its webhook to {start.path}"
        if (start.path, start.job_id) not in called:
            yield f"{start.path} never got the end of job {start.job_id}"
