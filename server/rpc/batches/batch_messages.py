"""Conversion of batches to the contract's messages."""

from __future__ import annotations

from datetime import timedelta

from actors.contract_messages import percent, timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from storage.jobs.batches import BatchCounts, Refusal


def refusal_message(refusal: Refusal) -> pb.Error:
    """Return the message of the reason why a request was refused."""
    message = pb.Error(
        reason=refusal.reason,
        message=refusal.message,
        retryable=refusal.is_retryable,
        violations=[
            pb.FieldViolation(field=field, description=description)
            for field, description in refusal.violations
        ],
    )
    if refusal.retry_in_s is not None:
        message.retry_delay.FromTimedelta(timedelta(seconds=refusal.retry_in_s))
    return message


def batch_message(batch: BatchCounts) -> pb.Batch:
    """Return the message of a batch."""
    return pb.Batch(
        batch_id=str(batch.batch_id),
        create_time=timestamp(batch.create_time),
        refused=batch.refused,
        jobs=[
            pb.JobStateCount(state=f"JOB_STATE_{state}", count=count)
            for state, count in batch.jobs.items()
        ],
        progress=_progress(batch),
    )


def _progress(batch: BatchCounts) -> pb.Progress:
    sums = batch.sums
    wanted = sums["total_documents"] - sums["skipped_documents"]
    done = sums["completed_documents"] + sums["failed_documents"] + sums["cancelled_documents"]
    # Without the documents of a case that is not listed yet, the percentage could fall again.
    return pb.Progress(
        total_documents=sums["total_documents"] if batch.is_listed else None,
        completed_documents=sums["completed_documents"],
        failed_documents=sums["failed_documents"],
        cancelled_documents=sums["cancelled_documents"],
        pending_documents=wanted - done,
        reused_documents=sums["reused_documents"],
        skipped_documents=sums["skipped_documents"],
        stored_bytes=sums["stored_bytes"],
        percent=percent(sums["completed_documents"], wanted if batch.is_listed else None),
    )
