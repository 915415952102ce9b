"""Check that the log has every event once, also for a reader that read it during the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import ENDED, Acknowledgements
from tests.chaos.callers.event_reader import CHANGED
from tests.chaos.checks.check_webhooks import TYPES
from tests.chaos.checks.snapshot import Snapshot


def check(ledger: Acknowledgements, seen: Snapshot, read: Sequence[pb.Event]) -> Iterator[str]:
    """Return a line for each problem. `read`: what a reader has read during the run, in order."""
    yield from _same(read, seen.events)
    ends = Counter(_end(event) for event in seen.events if event.event.type != CHANGED)
    yield from (f"the end {end} is in the log {n} times" for end, n in ends.items() if n > 1)
    for job in seen.jobs.values():
        if job.state in ENDED:
            yield from _logged(job, ends)
    yield from _runs(ledger, seen)
    yield from _delivered(seen, set(ends))


def _same(read: Sequence[pb.Event], log: Sequence[pb.Event]) -> Iterator[str]:
    """Compare what was read by cursors with the whole log."""
    early = [event.webhook_id for event in read]
    late = [event.webhook_id for event in log]
    if early == late:
        return
    lost, more = Counter(late) - Counter(early), Counter(early) - Counter(late)
    yield (
        f"a reader with a cursor has read {len(early)} events, the log has {len(late)};"
        f" lost: {[*lost][:3]}, repeated or gone: {[*more][:3]}"
    )


def _end(event: pb.Event) -> tuple[str, str, int]:
    job = event.event.data.job
    return event.event.type, job.job_id, job.end_time.ToNanoseconds()


def _logged(job: pb.Job, ends: Counter[tuple[str, str, int]]) -> Iterator[str]:
    end = TYPES[pb.JobState.Name(job.state)], job.job_id, job.end_time.ToNanoseconds()
    if end not in ends:
        yield f"the end of job {job.job_id} is not in the log"


def _runs(ledger: Acknowledgements, seen: Snapshot) -> Iterator[str]:
    logged = Counter(event.event.data.job.job_id for event in seen.events)
    for job_id in seen.jobs:
        most = 1 + ledger.retries[job_id] + ledger.given_up.count("RetryJob")
        if logged[job_id] > most:
            yield f"job {job_id} has {logged[job_id]} ends in the log"


def _delivered(seen: Snapshot, ends: set[tuple[str, str, int]]) -> Iterator[str]:
    """Check that the log has everything that webhooks said."""
    changes = {event.webhook_id for event in seen.events if event.event.type == CHANGED}
    for delivery in seen.deliveries:
        if not delivery.is_verified:
            continue
        kind, data = delivery.payload["type"], delivery.payload["data"]
        if kind == CHANGED:
            is_logged = delivery.webhook_id in changes
        else:
            job = pb.Job(job_id=data["job"]["job_id"])
            job.end_time.FromJsonString(data["job"]["end_time"])
            is_logged = (kind, job.job_id, job.end_time.ToNanoseconds()) in ends
        if not is_logged:
            yield f"webhook {delivery.webhook_id} said what the log has not: {kind}"
