"""DownloadService: converts requests, calls storage and converts the results to messages."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import structlog

from actors.contract_messages import timestamp
from actors.hints.hints import JobEnded
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import current_client
from server.access.open_calls import OpenCalls, WatchLimiter
from server.dependencies import (
    CLIENT_THREADS,
    PAGE_THREADS,
    POOL_THREADS,
    ServerDependencies,
)
from server.messages import set_place, shown
from server.queue.queue_position_cache import QueuePositionCache
from server.rpc import page_requests, requests
from server.rpc.batch_methods import BatchMethods
from server.rpc.case_methods import CaseMethods
from server.rpc.error_interceptor import counts_as_watch, writes_bytes
from server.rpc.event_methods import EventMethods, EventWaiter
from server.rpc.page_requests import Page
from server.rpc.service_base import CallThreads, Context
from server.rpc.starts import start_requests, start_steps
from server.rpc.starts.start_batcher import StartBatcher
from server.rpc.usage import UsageReader
from server.rpc.webhook_methods import WebhookMethods
from server.runtime.fair_executor import RowWaits
from server.runtime.stream_scheduler import StreamScheduler
from server.watch.feed import ENDED
from server.watch.watch_hub import WatchHub
from server.watch.watch_reader import WatchReader
from server.watch.watcher import EndWaiter, Watcher
from storage.clients.client_registry import CallingClient
from storage.documents import document_queries
from storage.documents.document_queries import DocumentFilter
from storage.errors import InvalidRequest, PreconditionFailed
from storage.events import event_log
from storage.jobs import job_queries, reruns
from storage.portal.slots import court_of
from storage.records import DocumentRecord, JobView, is_sealed
from storage.states import JobState
from storage.webhooks import webhook_rows

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DownloadService(CaseMethods, EventMethods, BatchMethods, WebhookMethods):
    """The public API. Blocking calls run on a pool; a stream occupies no thread or connection."""

    def __init__(self, parts: ServerDependencies) -> None:
        self._parts = parts
        self.open_watches = WatchLimiter()
        self.turns = StreamScheduler()
        self.calls = OpenCalls(unread_s=parts.stall_s)
        self._threads = CallThreads(
            parts.pool,
            threads=POOL_THREADS,
            share=CLIENT_THREADS,
            page_threads=PAGE_THREADS,
        )
        self._readings = WatchReader(parts.database, self.run)
        self._places = QueuePositionCache(parts.queue, self.run)
        self._usage = UsageReader(
            parts.database,
            self.run,
            calls=self.calls,
            watches=self.open_watches,
            budget=parts.budget,
        )
        self._waits = RowWaits(self.run)
        self._starts = StartBatcher(parts, self.run, self._waits, self._places)
        self.event_waiter = EventWaiter(
            lambda clients: self.run(event_log.last_numbers, parts.database, clients)
        )
        self.hub = WatchHub(self._readings, self._places, parts.redis_url, stall_s=parts.stall_s)

    async def StartDownload(
        self, request: pb.StartDownloadRequest, context: Context
    ) -> pb.StartDownloadResponse:
        """Start or join a job. If all of its documents are stored already, it ends at once."""
        client = current_client()
        wanted = start_requests.start_request(
            request,
            client=client,
            receivers=self._parts.receivers,
            default_max_age_s=self._parts.listing_max_age_s,
            is_signed=bool(self._parts.webhook_secrets.known(client.name)),
        )
        # Read here: the threads of the pool have no access to the span of this call.
        wanted = replace(wanted, traceparent=self._parts.tracer.traceparent())
        begun = await self._starts.begin(client, wanted)
        job = await self._job(begun.view) if begun.message is None else begun.message
        return pb.StartDownloadResponse(job=job, created=begun.is_new)

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """Return one job as it is now."""
        view = await self._view(requests.target(request))
        return pb.GetStatusResponse(job=await self._job(view))

    async def _job(self, view: JobView) -> pb.Job:
        [message] = await self._jobs([view])
        return message

    async def _view(self, target: UUID | str) -> JobView:
        client = current_client().name
        if isinstance(target, UUID):
            return await self.run(job_queries.get, self._parts.database, client, target)
        return await self.run(job_queries.newest, self._parts.database, client, target)

    @writes_bytes
    async def WatchProgress(self, request: pb.WatchProgressRequest, context: Context) -> None:
        """Stream the job, its changed documents, then each change, until the job ends."""
        watch, client = requests.watch(request), current_client()
        # The watch is counted before any row is read for it.
        with self.open_watches.acquire_watch(client):
            job, documents = await self.hub.opening(client.name, watch.target, watch.after_revision)
            structlog.contextvars.bind_contextvars(job_id=job.job_id)
            if watch.after_revision > job.revision:
                raise InvalidRequest.of(
                    "after_revision", f"is ahead of the job, whose revision is {job.revision}."
                )
            watcher = Watcher(watch.after_revision, watch.heartbeat_s, context.write, self.turns)
            await self.hub.follow(job, watcher, documents)

    @counts_as_watch
    async def WaitJob(self, request: pb.WaitJobRequest, context: Context) -> pb.WaitJobResponse:
        """Return one job once it has ended, or as it is when the timeout has passed."""
        target, timeout_s = requests.wait(request)
        client = current_client()
        with self.open_watches.acquire_watch(client):
            job = await self._readings.job(client.name, target)
            structlog.contextvars.bind_contextvars(job_id=job.job_id)
            if job.state not in ENDED:
                waiter = EndWaiter(job, timeout_s)
                await self.hub.follow(job, waiter)
                job = waiter.job
        return pb.WaitJobResponse(job=await self._placed(job))

    async def _placed(self, job: pb.Job) -> pb.Job:
        """Return a copy of a job that several calls share, with its queue status if it runs."""
        placed = pb.Job()
        placed.CopyFrom(job)
        if job.state not in ENDED:
            job_id = UUID(job.job_id)
            places = await self._places.now({job_id: court_of(job.process_number)})
            if job_id in places:
                set_place(placed, places[job_id])
        return placed

    async def settled(self) -> None:
        """Return when the hints of all started jobs are sent, after SETTLE_S at the latest."""
        await self._starts.settled()

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """Return jobs, newest first."""
        page = page_requests.list_jobs(request, client=current_client().name)
        shown, has_more = await self._threads.read_page(
            page.size, job_queries.page, self._parts.database, page.wanted, page.size
        )
        token = ""
        if has_more:
            last = shown[-1].job
            token = page_requests.page_token(
                page.fingerprint, last.create_time.isoformat(), str(last.job_id)
            )
        return pb.ListJobsResponse(jobs=await self._jobs(shown), next_page_token=token)

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        """Return documents in the order of the case file."""
        client = current_client().name
        page = page_requests.list_documents(request, client=client)
        return await self._threads.read_page(page.size, self._documents, client, page)

    def _documents(self, client: str, page: Page[DocumentFilter]) -> pb.ListDocumentsResponse:
        """Read a page and make its message: the event loop would stop for that long."""
        found, case_level = document_queries.page(
            self._parts.database, client, page.wanted, page.size + 1
        )
        token = ""
        if len(found) > page.size:
            found = found[: page.size]
            token = page_requests.page_token(page.fingerprint, found[-1].position)
        return pb.ListDocumentsResponse(
            documents=[shown(document, case_level) for document in found], next_page_token=token
        )

    async def GetDocument(
        self, request: pb.GetDocumentRequest, context: Context
    ) -> pb.GetDocumentResponse:
        """Return one document as it is now."""
        document, case_level = await self._document(*requests.document_ids(request))
        return pb.GetDocumentResponse(document=shown(document, case_level))

    async def _document(self, job_id: UUID, document_id: UUID) -> tuple[DocumentRecord, int | None]:
        client, database = current_client().name, self._parts.database
        return await self.run(document_queries.get, database, client, job_id, document_id)

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: Context
    ) -> pb.CancelJobResponse:
        """Stop a job."""
        client, job_id = current_client().name, requests.uuid_of("job_id", request.job_id)
        view = await self._waits.run((client, job_id), self._cancel, client, job_id)
        if view.job.state == JobState.CANCELLED:
            log.info("job cancelled", job_id=str(view.job.job_id))
        return pb.CancelJobResponse(job=await self._job(view))

    def _cancel(self, client: str, job_id: UUID) -> JobView:
        view = job_queries.cancel(self._parts.database, client, job_id)
        self._parts.hints.halt(str(job_id))
        self._parts.messages.send_webhooks(job_id, webhook_rows.due(self._parts.database, job_id))
        self._parts.hints.send(JobEnded(job_id))
        return view

    async def GetDocumentUrl(
        self, request: pb.GetDocumentUrlRequest, context: Context
    ) -> pb.GetDocumentUrlResponse:
        """Return a fresh URL of a stored document."""
        document, case_level = await self._document(*requests.document_ids(request))
        if document.object_key is None:
            raise PreconditionFailed(
                "DOCUMENT_NOT_AVAILABLE",
                f"The document is {document.state}, not AVAILABLE.",
                str(document.document_id),
            )
        sealed = is_sealed(case_level, document.secrecy_level)
        lifetime_s = requests.url_lifetime_s(request, is_sealed=sealed)
        url, expires = self._parts.objects.url(document.object_key, lifetime_s=lifetime_s)
        return pb.GetDocumentUrlResponse(url=url, expire_time=timestamp(expires))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        """Return the limits of the client that calls, and what it has used of them."""
        return await self._usage.read(current_client())

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        """Run the failed documents of an ended job again. It ends at once if all are stored."""
        job_id, request_id = requests.repeatable(request)
        traceparent = self._parts.tracer.traceparent()
        client = current_client()
        view = await self._waits.run(
            (client.name, job_id), self._retry, client, job_id, request_id, traceparent
        )
        log.info("job retried", job_id=str(job_id))
        return pb.RetryJobResponse(job=await self._job(view))

    def _retry(
        self, client: CallingClient, job_id: UUID, request_id: UUID | None, traceparent: str | None
    ) -> JobView:
        self._count_repeat(client)
        view, is_new = reruns.rerun(
            self._parts.database,
            self._parts.objects,
            client.name,
            job_id,
            request_id=request_id,
            jobs_at_once=client.limits.jobs_at_once if client.limits else None,
            job_deadline_s=self._parts.job_deadline_s,
            limit_s=self._parts.reuse_limit_s,
            traceparent=traceparent,
            size_limits=self._parts.size_limits,
            access=client.access,
        )
        if is_new:
            start_steps.enqueue_first_step(self._parts, view)
        return view

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: Context
    ) -> pb.RedeliverWebhookResponse:
        """Send the webhooks of an ended job again."""
        job_id, request_id = requests.repeatable(request)
        client = current_client()
        row = (client.name, job_id)
        view = await self._waits.run(row, self._redeliver, client, job_id, request_id)
        return pb.RedeliverWebhookResponse(job=await self._job(view))

    def _count_repeat(self, client: CallingClient) -> None:
        if client.limits:
            self._parts.repeat_rate.count(client.name, client.limits.repeats_per_minute)

    def _redeliver(self, client: CallingClient, job_id: UUID, request_id: UUID | None) -> JobView:
        self._count_repeat(client)
        database = self._parts.database
        view, is_new = webhook_rows.redeliver(database, client.name, job_id, request_id)
        if is_new:
            self._parts.messages.send_webhooks(job_id, [hook.position for hook in view.webhooks])
        return view
