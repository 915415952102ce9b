"""Check that each change of a watched case was reported and fetched once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.callers.case_watcher import CaseWatcher
from tests.chaos.callers.event_reader import CHANGED
from tests.chaos.checks.snapshot import Snapshot


def check(seen: Snapshot, watchers: Sequence[CaseWatcher]) -> Iterator[str]:
    """Return a line for each problem with watched cases."""
    for watcher in watchers:
        name = f"watched case {watcher.plan.number}"
        yield from (f"{name}: {problem}" for problem in _watched(seen, watcher))


def _watched(seen: Snapshot, watcher: CaseWatcher) -> Iterator[str]:
    events = [
        event
        for event in seen.events
        if event.event.type == CHANGED and event.event.data.process_number == watcher.plan.number
    ]
    if len(events) != watcher.made:
        yield f"{watcher.made} changes were made, {len(events)} were reported"
    new: list[str] = []
    for event in events:
        change = event.event.data.change
        new += change.new_document_ids
        if change.vanished_document_ids or change.changed_document_ids:
            yield f"webhook {event.webhook_id} reports a change that was not made"
    if len(new) != len(events) or len(set(new)) != len(new):
        yield f"{len(events)} changes of one document each have reported {sorted(new)}"
    called = {each.webhook_id for each in seen.deliveries if each.path == watcher.path}
    yield from (
        f"the receiver has not got {event.webhook_id}"
        for event in events
        if event.webhook_id not in called
    )
    wanted = [
        document.document_id
        for job_id, job in seen.jobs.items()
        if job.process_number == watcher.plan.number
        for document in seen.documents[job_id]
        if document.state != pb.DOCUMENT_STATE_SKIPPED
    ]
    if sorted(wanted) != sorted(new):
        yield f"new are {sorted(new)}, wanted by jobs are {sorted(wanted)}"
