"""Check that every acknowledged job ended once, and that its numbers add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import ENDED, AcknowledgedStart, Acknowledgements
from tests.chaos.callers.stream_reader import StreamReader
from tests.chaos.checks.snapshot import Snapshot


def check(ledger: Acknowledgements, seen: Snapshot, watchers: list[StreamReader]) -> Iterator[str]:
    """Return a line for each problem with jobs."""
    for start in ledger.starts:
        yield from _acknowledged(start, seen)
    for job in seen.jobs.values():
        name = f"job {job.job_id} ({job.process_number})"
        yield from (f"{name}: {problem}" for problem in _ended(ledger, job))
        yield from (f"{name}: {problem}" for problem in _sums(job, seen.documents[job.job_id]))
    running = Counter(s.job_id for s in ledger.starts if s.created)
    yield from (f"job {j} was created {n} times" for j, n in running.items() if n > 1)
    for watcher in watchers:
        yield from _watched(watcher, ledger, seen)


def _acknowledged(start: AcknowledgedStart, seen: Snapshot) -> Iterator[str]:
    job = seen.jobs.get(start.job_id)
    if job is None:
        yield f"job {start.job_id} was acknowledged and is gone"
    elif job.process_number != start.number:
        yield f"job {start.job_id} is of case {job.process_number}, not of {start.number}"


def _ended(ledger: Acknowledgements, job: pb.Job) -> Iterator[str]:
    if job.state not in ENDED:
        yield f"has not ended: {pb.JobState.Name(job.state)}"
        return
    ends, runs = len(ledger.ends[job.job_id]), 1 + ledger.retries[job.job_id]
    if "RetryJob" in ledger.given_up:
        runs += 1
    if ends > runs:
        yield f"was seen to end {ends} times in {runs} runs"
    is_cancelled = job.state == pb.JOB_STATE_CANCELLED
    if is_cancelled and job.job_id not in ledger.cancels_requested:
        yield "is CANCELLED without a CancelJob"
    if job.job_id in ledger.cancelled and not is_cancelled:
        yield f"was CANCELLED and is {pb.JobState.Name(job.state)}"


def _sums(job: pb.Job, documents: list[pb.Document]) -> Iterator[str]:
    counters = job.progress
    states = Counter(document.state for document in documents)
    available = [d for d in documents if d.state == pb.DOCUMENT_STATE_AVAILABLE]
    expected = {
        "total_documents": len(documents),
        "completed_documents": len(available),
        "failed_documents": states[pb.DOCUMENT_STATE_FAILED],
        "cancelled_documents": states[pb.DOCUMENT_STATE_CANCELLED],
        "skipped_documents": states[pb.DOCUMENT_STATE_SKIPPED],
        "pending_documents": 0,
        "stored_bytes": sum(document.size_bytes for document in available),
    }
    for name, value in expected.items():
        if getattr(counters, name) != value:
            yield f"{name} is {getattr(counters, name)}, its documents add up to {value}"
    if job.state in ENDED and job.state != _outcome(job, states):
        yield f"ended {pb.JobState.Name(job.state)} with {dict(states)}"
    if job.state == pb.JOB_STATE_FAILED and not job.error.reason:
        yield "FAILED without a reason"


def _outcome(job: pb.Job, states: Counter[pb.DocumentState]) -> pb.JobState:
    """Return the end that a job's documents imply."""
    available = states[pb.DOCUMENT_STATE_AVAILABLE]
    if states[pb.DOCUMENT_STATE_CANCELLED] or job.state == pb.JOB_STATE_CANCELLED:
        return pb.JOB_STATE_CANCELLED
    if not job.progress.HasField("total_documents"):
        return pb.JOB_STATE_FAILED
    if available == job.progress.total_documents - states[pb.DOCUMENT_STATE_SKIPPED]:
        return pb.JOB_STATE_COMPLETED
    return pb.JOB_STATE_PARTIALLY_COMPLETED if available else pb.JOB_STATE_FAILED


def _watched(watcher: StreamReader, ledger: Acknowledgements, seen: Snapshot) -> Iterator[str]:
    """Check that a watcher that followed a job to its end has the same data as ListDocuments."""
    job_id = watcher.job_id
    if watcher.end is None or ledger.retries[job_id]:
        return
    watched = {i: (d.state, d.revision) for i, d in watcher.documents.items()}
    listed = {d.document_id: (d.state, d.revision) for d in seen.documents[job_id]}
    if watched != listed:
        yield f"watching job {job_id}: {len(watched.items() ^ listed.items())} documents differ"
    if watcher.end.end_time != seen.jobs[job_id].end_time:
        yield f"watching job {job_id}: another end than GetStatus returns"
