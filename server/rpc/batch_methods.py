"""The methods of DownloadService for many jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from actors.contract_messages import percent, timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import current_client
from server.rpc import requests
from server.rpc.requests import Checks, refuse, require_short, uuid_of
from server.rpc.service_base import Context, ServiceBase
from server.rpc.starts import start_requests
from server.rpc.starts.start_batcher import StartBatcher
from server.rpc.starts.start_steps import StartedJob
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError
from storage.jobs import batches, job_queries
from storage.jobs.batches import BatchCounts, BatchResult, BegunBatch, Refusal
from storage.jobs.job_start import BatchPlace, StartRequest
from storage.records import JobView
from storage.webhook_policy import WebhookPolicy


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A checked StartDownloads.

    `asked`: each request, or why it is refused, in the order of the call. `payload`: the same bytes
    for the same requests.
    """

    request_id: UUID | None
    asked: tuple[StartRequest | CallerError, ...]
    payload: bytes


def read(
    request: pb.StartDownloadsRequest,
    *,
    client: CallingClient,
    receivers: WebhookPolicy,
    default_max_age_s: float,
    is_signed: bool,
) -> BatchRequest:
    """Return a checked StartDownloads. Raises InvalidRequest if the call itself is wrong."""
    checks = Checks()
    request_id = None
    if not request.requests:
        checks.take(lambda: refuse("requests", "must have at least one value."))
    if request.request_id:
        request_id = checks.take(lambda: uuid_of("request_id", request.request_id))
    checks.finish()

    def asked(each: pb.StartDownloadRequest) -> StartRequest | CallerError:
        try:
            require_short(each)
            return start_requests.start_request(
                each,
                client=client,
                receivers=receivers,
                default_max_age_s=default_max_age_s,
                is_signed=is_signed,
            )
        except CallerError as error:
            return error

    checked = tuple(asked(each) for each in request.requests)
    return BatchRequest(request_id, checked, request.SerializeToString(deterministic=True))


log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A call whose batch another call works on waits until the batch is this many seconds old. Then it
# works on it, too: the other call may have lost its process. Both get the same results.
OTHERS_TURN_S = 5.0
POLL_S = 0.1


class BatchMethods(ServiceBase):
    """StartDownloads and GetBatch."""

    _starts: StartBatcher

    async def StartDownloads(
        self, request: pb.StartDownloadsRequest, context: Context
    ) -> pb.StartDownloadsResponse:
        """Start or join many jobs, each with its own result."""
        client, size = current_client(), len(request.requests)
        asked = await self._threads.read_page(
            size,
            read,
            request,
            client=client,
            receivers=self._parts.receivers,
            default_max_age_s=self._parts.listing_max_age_s,
            is_signed=bool(self._parts.webhook_secrets.known(client.name)),
        )
        if client.limits:
            await self.run(
                self._parts.start_rate.count, client.name, client.limits.starts_per_minute, size
            )
        batch = await self._batch(client, asked)
        begun: Mapping[UUID, StartedJob] = {}
        if not batch.is_complete:
            begun = await self._begin(client, batch, asked)
        results = await self.run(batches.results, self._parts.database, batch.batch_id)
        jobs = await self._messages(results, begun)
        return await self._threads.read_page(size, _response, batch.batch_id, results, jobs)

    async def _batch(self, client: CallingClient, asked: BatchRequest) -> BegunBatch:
        """Return the batch of a call, after the turn of an earlier call that works on it."""
        database = self._parts.database
        while True:
            batch = await self.run(
                batches.begin, database, client.name, asked.request_id, asked.payload
            )
            if batch.is_new or batch.is_complete or batch.age_s >= OTHERS_TURN_S:
                return batch
            await asyncio.sleep(POLL_S)

    async def _begin(
        self, client: CallingClient, batch: BegunBatch, asked: BatchRequest
    ) -> Mapping[UUID, StartedJob]:
        """Start the jobs of a batch that have no result. Return the jobs of this call."""
        database, recorded = self._parts.database, set[int]()
        if not batch.is_new:
            found = await self.run(batches.results, database, batch.batch_id)
            recorded = {each.place for each in found}
        wanted: list[StartRequest] = []
        refused: dict[int, CallerError] = {}
        traceparent = self._parts.tracer.traceparent()
        for place, each in enumerate(asked.asked):
            if isinstance(each, CallerError):
                refused[place] = each
            elif place not in recorded:
                own = BatchPlace(batch.batch_id, place)
                wanted.append(replace(each, batch=own, traceparent=traceparent))
        begun: dict[UUID, StartedJob] = {}
        for start, result in zip(
            wanted, await self._starts.begin_many(client, wanted), strict=True
        ):
            if isinstance(result, CallerError) and start.batch:
                refused[start.batch.place] = result
            elif isinstance(result, StartedJob):
                begun[result.view.job.job_id] = result
        refusals = {place: Refusal.of(error) for place, error in refused.items()}
        await self.run(batches.finish, database, batch.batch_id, refusals)
        log.info(
            "batch started",
            batch_id=str(batch.batch_id),
            requests=len(asked.asked),
            jobs=len(begun),
            refused=len(refusals),
        )
        return begun

    async def _messages(
        self, results: Sequence[BatchResult], begun: Mapping[UUID, StartedJob]
    ) -> Mapping[UUID, pb.Job]:
        """Return the messages of the jobs of a batch. `begun`: those that this call started."""
        jobs = {i: each.message for i, each in begun.items() if each.message is not None}
        views = {i: each.view for i, each in begun.items() if i not in jobs}
        wanted = {each.job_id for each in results if each.job_id is not None}
        if missing := wanted - jobs.keys() - views.keys():
            views |= await self._threads.read_page(len(missing), self._views, missing)
        made = await self._jobs(list(views.values())) if views else []
        return jobs | {UUID(job.job_id): job for job in made}

    def _views(self, job_ids: set[UUID]) -> dict[UUID, JobView]:
        with self._parts.database.snapshot() as transaction:
            return job_queries.views(transaction, job_ids, are_short=True)

    async def GetBatch(self, request: pb.GetBatchRequest, context: Context) -> pb.GetBatchResponse:
        """Return the jobs of a batch by state, and the sums of their counters."""
        batch_id = requests.uuid_of("batch_id", request.batch_id)
        found = await self.run(
            batches.counts, self._parts.database, current_client().name, batch_id
        )
        return pb.GetBatchResponse(batch=batch_message(found))


def _response(
    batch_id: UUID, results: Sequence[BatchResult], jobs: Mapping[UUID, pb.Job]
) -> pb.StartDownloadsResponse:
    response = pb.StartDownloadsResponse(batch_id=str(batch_id))
    for each in results:
        result = response.results.add()
        if each.refusal is not None:
            result.error.CopyFrom(refusal_message(each.refusal))
        elif each.job_id is not None:
            result.response.job.CopyFrom(jobs[each.job_id])
            result.response.created = each.is_new
    return response


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
    progress = pb.Progress(
        **sums,
        pending_documents=wanted - done,
        percent=percent(sums["completed_documents"], wanted if batch.is_listed else None),
    )
    if not batch.is_listed:
        progress.ClearField("total_documents")
    return progress
