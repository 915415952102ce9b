"""Batches: the results of StartDownloads calls, kept so that a repeated call returns the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from peewee import fn

from storage.errors import (
    CallerError,
    FieldViolation,
    InvalidRequest,
    LimitReached,
    NotFound,
    RequestIdReused,
)
from storage.jobs import request_ids
from storage.models import Batch, BatchItem, Job, Request
from storage.postgres.database import Database, Transaction
from storage.states import JOB_RUNNING

METHOD = "StartDownloads"
SUMMED = (
    "total_documents",
    "completed_documents",
    "failed_documents",
    "cancelled_documents",
    "reused_documents",
    "skipped_documents",
    "stored_bytes",
)


@dataclass(frozen=True, slots=True)
class BegunBatch:
    """A batch that a call works on.

    `is_new`: this call made it. `is_complete`: each request has its result. `age_s`: seconds since
    it was made.
    """

    batch_id: UUID
    is_new: bool = True
    is_complete: bool = False
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request of a batch was refused. `violations`: field and description of each."""

    reason: str
    message: str
    is_retryable: bool = False
    violations: tuple[tuple[str, str], ...] = ()
    retry_in_s: float | None = None

    @classmethod
    def of(cls, error: CallerError) -> Refusal:
        """Return the refusal for the error that a StartDownload would raise."""
        violations: tuple[FieldViolation, ...] = ()
        if isinstance(error, InvalidRequest):
            violations = error.violations
        retry_in_s = error.retry_in_s if isinstance(error, LimitReached) else None
        return cls(
            error.reason,
            str(error),
            retry_in_s is not None,
            tuple((each.field, each.description) for each in violations),
            retry_in_s,
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one request: its job, or why it was refused."""

    place: int
    job_id: UUID | None
    is_new: bool
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """A batch with its jobs by state and the sums of their counters.

    `sums`: by the name of the counter. `is_listed`: each case is listed, or never will be.
    """

    batch_id: UUID
    create_time: datetime
    refused: int
    jobs: Mapping[str, int]
    sums: Mapping[str, int]
    is_listed: bool


def begin(database: Database, client: str, request_id: UUID | None, payload: bytes) -> BegunBatch:
    """Return a new batch, or the batch of an earlier call with this request_id.

    `payload`: the same bytes for the same requests. Raises RequestIdReused if an earlier call used
    the request_id otherwise.
    """
    digest = hashlib.sha256(METHOD.encode() + b" " + payload).hexdigest()
    return request_ids.repeated_if_raced(database, partial(_begin, client, request_id, digest))


def _begin(
    client: str, request_id: UUID | None, digest: str, transaction: Transaction
) -> BegunBatch:
    if request_id is not None:
        earlier = transaction.fetch_one(
            Request.select(Request.payload_sha256, Request.batch_id)
            .where(Request.client == client, Request.request_id == request_id)
            .dicts()
        )
        if earlier is not None:
            if earlier["payload_sha256"] != digest:
                raise RequestIdReused.of(
                    "request_id", "was already used for other requests; choose a new UUID."
                )
            return _earlier(transaction, earlier["batch_id"])
    batch = BegunBatch(uuid4())
    transaction.execute(Batch.insert(batch_id=batch.batch_id, client=client))
    if request_id is not None:
        transaction.execute(
            Request.insert(
                client=client,
                request_id=request_id,
                payload_sha256=digest,
                batch_id=batch.batch_id,
            )
        )
    return batch


def _earlier(transaction: Transaction, batch_id: UUID) -> BegunBatch:
    row = transaction.fetch_one(
        Batch.select(
            Batch.refused,
            fn.date_part("epoch", fn.clock_timestamp() - Batch.create_time).alias("age_s"),
        )
        .where(Batch.batch_id == batch_id)
        .dicts()
    )
    return BegunBatch(batch_id, False, row["refused"] is not None, float(row["age_s"]))


def finish(database: Database, batch_id: UUID, refusals: Mapping[int, Refusal]) -> None:
    """Record the refused requests, by place. Then the batch is complete.

    A place that has a result already keeps it. Every other place has a job.
    """
    rows = [
        {"batch_id": batch_id, "place": place, "refusal": asdict(refusal)}
        for place, refusal in sorted(refusals.items())
    ]
    with database.transaction() as transaction:
        if rows:
            transaction.execute(BatchItem.insert_many(rows).on_conflict_ignore())
        refused = BatchItem.select(fn.COUNT(BatchItem.refusal)).where(
            BatchItem.batch_id == batch_id
        )
        transaction.execute(Batch.update(refused=refused).where(Batch.batch_id == batch_id))


def results(database: Database, batch_id: UUID) -> list[BatchResult]:
    """Return the results that the requests of a batch have, by place."""
    query = (
        BatchItem.select(BatchItem.place, BatchItem.job_id, BatchItem.is_new, BatchItem.refusal)
        .where(BatchItem.batch_id == batch_id)
        .order_by(BatchItem.place)
    )
    with database.transaction() as transaction:
        rows = transaction.fetch(query.tuples())
    return [
        BatchResult(place, job_id, is_new, refusal and _refusal(refusal))
        for place, job_id, is_new, refusal in rows
    ]


def _refusal(stored: Mapping[str, Any]) -> Refusal:
    violations = tuple((field, description) for field, description in stored["violations"])
    return Refusal(**{**stored, "violations": violations})


def counts(database: Database, client: str, batch_id: UUID) -> BatchCounts:
    """Return a batch of this client with its counts. Raises NotFound."""
    own = Batch.select().where(Batch.batch_id == batch_id, Batch.client == client)
    with database.transaction() as transaction:
        batch = transaction.fetch_one(own.dicts())
        if batch is None:
            raise NotFound("batch", str(batch_id))
        rows = transaction.fetch(_by_state(batch_id))
    return BatchCounts(
        batch_id,
        batch["create_time"],
        batch["refused"] or 0,
        {row["state"]: row["jobs"] for row in rows},
        {name: sum(int(row[name] or 0) for row in rows) for name in SUMMED},
        any(row["listed"] for row in rows)
        and all(row["listed"] == row["jobs"] for row in rows if row["state"] in JOB_RUNNING),
    )


def _by_state(batch_id: UUID) -> Any:
    """Return the query that counts and sums a batch's jobs by state.

    A case that came twice has one job. Each job is read by its key, no document is.
    """
    of_batch = (
        BatchItem.select(BatchItem.job_id)
        .distinct()
        .where(BatchItem.batch_id == batch_id, BatchItem.job_id.is_null(False))
        .alias("of_batch")
    )
    sums = [fn.SUM(getattr(Job, name)).alias(name) for name in SUMMED]
    return (
        Job.select(
            Job.state,
            fn.COUNT(Job.job_id).alias("jobs"),
            fn.COUNT(Job.total_documents).alias("listed"),
            *sums,
        )
        .join(of_batch, on=Job.job_id == of_batch.c.job_id)
        .group_by(Job.state)
        .order_by(Job.state)
        .dicts()
    )
