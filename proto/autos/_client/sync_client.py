"""The blocking client. DO NOT EDIT: `make proto` derives it from async_client.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, Unpack
from uuid import uuid4

from google.protobuf.message import Message

from autos._client import calls
from autos._client.calls import Call, StartOptions
from autos._client.connection import ADDRESS, Connection
from autos._client.patience import ATTEMPT_S, PATIENCE_S, TIMEOUT_S, OnPause, Patience
from autos._client.pulling import PARALLEL, Pull
from autos._client.sync_io import Transport, from_threads, run, sleep
from autos._client.watching import CUT_SHORT, HEARTBEAT_S, JOB_ENDS, BatchWatching, Watching
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import AutosError, Unavailable
from autos.pulled import Pulled, PulledFile

R = TypeVar("R", bound=Message)


class Client:
    """The blocking client. Threads may share one. Close it, or use it in a `with` block.

    `connection`: an address, or a Connection with TLS and token. A call is retried for `timeout_s`
    in total while the server is unavailable or requests a pause. Calls that start work carry a
    request_id, so that a retry starts nothing twice. `on_pause` gets the error and the seconds of
    each pause. Every method raises AutosError, see autos.errors.
    """

    def __init__(
        self,
        connection: Connection | str = ADDRESS,
        *,
        timeout_s: float = TIMEOUT_S,
        on_pause: OnPause = lambda _error, _pause_s: None,
    ) -> None:
        if isinstance(connection, str):
            connection = Connection(connection)
        self._connection = connection
        self._timeout_s = timeout_s
        self._on_pause = on_pause
        self._transport = Transport(connection)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Return a client for the AUTOS_... variables of `env`; `options`: those of the class."""
        return cls(Connection.from_env(os.environ if env is None else env), **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the calls under way and close the connection."""
        self._transport.close()

    def start(
        self,
        process_number: str,
        *,
        request_id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> pb.StartDownloadResponse:
        """Return the job that serves the case; `created` is true if this call made it.

        `options`: webhook_url, max_age, priority, labels, retention; `selection`: fetch only these
        documents; `list_only`: list the case and fetch none; `not_before`: request nothing from the
        portal before this time.
        """
        return self._call(calls.start(process_number, request_id, **options))

    def start_many(
        self,
        requests: Iterable[str | pb.StartDownloadRequest],
        *,
        request_id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> pb.StartDownloadsResponse:
        """Return the results of up to 1,000 starts, in the order of `requests`.

        A request is a process number, or a StartDownloadRequest. `options`: those of `start`, for
        process numbers. A refused request affects no other.
        """
        return self._call(calls.start_many(requests, request_id, **options))

    def batch(self, batch_id: str) -> pb.Batch:
        """Return how many jobs of a batch are in which state, and the sums of their counters."""
        call = Call(pb.GetBatchRequest(batch_id=batch_id), pb.GetBatchResponse)
        answer = self._call(call)
        return answer.batch

    def watch_batches(
        self,
        batch_ids: Iterable[str],
        *,
        timeout_s: float | None = None,
        patience_s: float | None = PATIENCE_S,
    ) -> Iterator[list[pb.Batch]]:
        """Yield the batches every two seconds, until all of their jobs have ended.

        Raises Unavailable if the server is unavailable for `patience_s` seconds (None: never), and
        TookTooLong after `timeout_s` seconds.
        """
        watching = BatchWatching(batch_ids, timeout_s=timeout_s, patience_s=patience_s)
        while running := watching.running:
            for batch_id in running:
                watching.take(self._batch(watching, batch_id))
            yield watching.batches
            if watching.running:
                sleep(watching.rest_s())

    def _batch(self, watching: BatchWatching, batch_id: str) -> pb.Batch:
        while True:
            call, limit_s = watching.attempt(batch_id)
            try:
                answer = self._transport.answer(call, limit_s)
            except AutosError as error:
                failed = error
            else:
                return answer.batch
            self._pause(watching, failed)

    def status(self, target: str) -> pb.Job:
        """Return a job by its job_id, or the newest job of a process number."""
        call = Call(pb.GetStatusRequest(**calls.target_of(target)), pb.GetStatusResponse)
        answer = self._call(call)
        return answer.job

    def watch(
        self,
        target: str,
        *,
        after_revision: int = 0,
        timeout_s: float | None = None,
        patience_s: float | None = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> Iterator[pb.WatchProgressResponse]:
        """Yield the job and its documents as they change; the ended job is the last.

        If the stream breaks, or delivers nothing for three heartbeats, the method opens a new one.
        No change is repeated or left out: documents and jobs come with growing revisions, each in
        its latest state. `after_revision` (with a job_id): the `revision` of the last message that
        the caller received of this job. Raises Unavailable if the server is unavailable for
        `patience_s` seconds (None: never), and TookTooLong after `timeout_s` seconds.
        """
        watching = Watching(
            target,
            after_revision=after_revision,
            timeout_s=timeout_s,
            patience_s=patience_s,
            heartbeat_s=heartbeat_s,
        )
        while True:
            broken: AutosError = Unavailable(CUT_SHORT)
            call, limit_s = watching.stream()
            try:
                with self._transport.stream(call, limit_s, watching.silence_s) as messages:
                    for message in messages:
                        if watching.take(message):
                            yield message
                        if watching.is_over:
                            return
            except AutosError as error:
                broken = error
            self._pause(watching, broken)

    def wait(
        self,
        target: str,
        *,
        timeout_s: float | None = None,
        patience_s: float | None = PATIENCE_S,
    ) -> pb.Job:
        """Return the ended job. Raises TookTooLong after `timeout_s`; the job continues."""
        job = self.status(target)
        if job.state not in JOB_ENDS:
            # Earlier changes are not needed here.
            for message in self.watch(
                job.job_id,
                after_revision=job.revision,
                timeout_s=timeout_s,
                patience_s=patience_s,
            ):
                job = message.job if message.HasField("job") else job
        return job

    def jobs(
        self,
        *,
        process_number: str = "",
        states: Iterable[pb.JobState] = (),
        page_size: int = calls.JOBS_PAGE,
        labels: Mapping[str, str] = MappingProxyType({}),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        batch_id: str = "",
    ) -> Iterator[pb.Job]:
        """Yield all jobs, newest first. Pages are fetched on demand.

        `labels`: jobs that have all of these. `created_from` is inclusive, `created_to` is not.
        `batch_id`: jobs that this batch made.
        """
        request = pb.ListJobsRequest(
            page_size=page_size,
            process_number=process_number,
            states=states,
            labels=labels,
            create_time_from=calls.timestamp(created_from),
            create_time_to=calls.timestamp(created_to),
            batch_id=batch_id,
        )
        for page in self._pages(Call(request, pb.ListJobsResponse)):
            for job in page.jobs:
                yield job

    def documents(
        self,
        job_id: str,
        *,
        states: Iterable[pb.DocumentState] = (),
        page_size: int = calls.DOCUMENTS_PAGE,
    ) -> Iterator[pb.Document]:
        """Yield all documents of a job in case file order. Pages are fetched on demand."""
        request = pb.ListDocumentsRequest(job_id=job_id, page_size=page_size, states=states)
        for page in self._pages(Call(request, pb.ListDocumentsResponse)):
            for document in page.documents:
                yield document

    def document(self, job_id: str, document_id: str) -> pb.Document:
        """Return one document of a job."""
        request = pb.GetDocumentRequest(job_id=job_id, document_id=document_id)
        answer = self._call(Call(request, pb.GetDocumentResponse))
        return answer.document

    def cancel(self, job_id: str) -> pb.Job:
        """Stop a job. A job that has ended is returned unchanged."""
        answer = self._call(Call(pb.CancelJobRequest(job_id=job_id), pb.CancelJobResponse))
        return answer.job

    def retry(self, job_id: str, *, request_id: str | None = None) -> pb.Job:
        """Run the failed documents of an ended job again."""
        request = pb.RetryJobRequest(job_id=job_id, request_id=request_id or str(uuid4()))
        answer = self._call(Call(request, pb.RetryJobResponse))
        return answer.job

    def url(
        self, job_id: str, document_id: str, *, lifetime: timedelta | None = None
    ) -> pb.GetDocumentUrlResponse:
        """Return a presigned URL of a stored document. It is a secret: it opens the document."""
        request = pb.GetDocumentUrlRequest(
            job_id=job_id, document_id=document_id, lifetime=calls.duration(lifetime)
        )
        return self._call(Call(request, pb.GetDocumentUrlResponse))

    def redeliver(self, job_id: str, *, request_id: str | None = None) -> pb.Job:
        """Send the webhook of an ended job again."""
        request = pb.RedeliverWebhookRequest(job_id=job_id, request_id=request_id or str(uuid4()))
        answer = self._call(Call(request, pb.RedeliverWebhookResponse))
        return answer.job

    def case(self, process_number: str) -> pb.Case:
        """Return class, subjects, parties and movements of a case, from its newest listing."""
        request = pb.GetCaseRequest(process_number=process_number)
        answer = self._call(Call(request, pb.GetCaseResponse))
        return answer.case

    def case_listing(self, process_number: str) -> bytes:
        """Return the portal's answer to the newest listing of a case as it came, JSON."""
        request = pb.GetCaseListingRequest(process_number=process_number)
        call, patience = Call(request, pb.GetCaseListingResponse), Patience(self._timeout_s)
        while True:
            try:
                with self._transport.stream(call, None, ATTEMPT_S) as messages:
                    return b"".join([message.chunk for message in messages])
            except AutosError as error:
                failed = error
            self._pause(patience, failed)

    def events(
        self,
        *,
        after_cursor: str = "",
        follow: bool = False,
        without_documents: bool = False,
        page_size: int = calls.EVENTS_PAGE,
        patience_s: float | None = PATIENCE_S,
    ) -> Iterator[pb.Event]:
        """Yield what webhooks say, oldest first, from the event after a cursor.

        Keep the `cursor` of the last event that was handled: the next call continues after it.
        With `follow`, the method waits for further events and never returns. It then raises
        Unavailable if the server is unavailable for `patience_s` seconds (None: never).
        """
        limit_s = patience_s if follow else self._timeout_s
        wait = calls.duration(timedelta(seconds=calls.EVENT_WAIT_S if follow else 0))
        while True:
            request = pb.ListEventsRequest(
                after_cursor=after_cursor,
                page_size=page_size,
                wait=wait,
                without_documents=without_documents,
            )
            answer = self._within(limit_s, Call(request, pb.ListEventsResponse))
            for event in answer.events:
                yield event
                after_cursor = event.cursor
            if not answer.has_more and not follow:
                return

    def subscribe(
        self,
        process_number: str,
        *,
        interval: timedelta | None = None,
        webhook_url: str = "",
        selection: pb.Selection | None = None,
        list_only: bool = False,
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> pb.Subscription:
        """Watch a case: list it again at an interval, 24 h if None, and fetch what is new.

        A change is an event, of `events` and of the webhook. `selection`: which new documents are
        fetched; `list_only`: none is. `labels`: of the jobs that fetch. Another call for the same
        case replaces these values.
        """
        request = pb.SubscribeCaseRequest(
            process_number=process_number,
            interval=calls.duration(interval),
            webhook_url=webhook_url,
            selection=selection,
            list_only=list_only,
            labels=labels,
        )
        answer = self._call(Call(request, pb.SubscribeCaseResponse))
        return answer.subscription

    def unsubscribe(self, process_number: str) -> None:
        """End watching a case. What is stored stays."""
        request = pb.UnsubscribeCaseRequest(process_number=process_number)
        self._call(Call(request, pb.UnsubscribeCaseResponse))

    def subscriptions(
        self, *, page_size: int = calls.SUBSCRIPTIONS_PAGE
    ) -> Iterator[pb.Subscription]:
        """Yield all watched cases by their numbers. Pages are fetched on demand."""
        request = pb.ListSubscriptionsRequest(page_size=page_size)
        for page in self._pages(Call(request, pb.ListSubscriptionsResponse)):
            for subscription in page.subscriptions:
                yield subscription

    def test_webhook(self, webhook_url: str) -> pb.WebhookAttempt:
        """Send a signed `webhook.test` event to a URL once and return what came of it.

        This call is not retried, and may take 45 seconds.
        """
        request = pb.SendTestWebhookRequest(webhook_url=webhook_url)
        call = Call(request, pb.SendTestWebhookResponse)
        answer = self._transport.answer(call, calls.TEST_WEBHOOK_S)
        return answer.attempt

    def usage(self) -> pb.GetUsageResponse:
        """Return the limits of this client and what it has used of them."""
        return self._call(Call(pb.GetUsageRequest(), pb.GetUsageResponse))

    def download_to(
        self,
        folder: str | Path,
        job_id: str,
        *,
        parallel: int = PARALLEL,
        on_file: Callable[[PulledFile], object] = lambda _: None,
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> Pulled:
        """Fetch every available document of a job into `folder`, `parallel` at once.

        Each file gets its name only after its size and SHA-256 are verified. An existing file with
        the same bytes is kept; one with other bytes is replaced. `on_file` and `on_bytes` are
        called from several threads. If some documents could not be fetched, it raises PullFailed
        after it has fetched all others. Raises OSError if the folder cannot be written to.
        """

        def mint(document: pb.Document) -> str:
            answer = self.url(job_id, document.document_id)
            return answer.url

        pull = Pull(
            documents=[document for document in self.documents(job_id)],
            folder=Path(folder),
            mint=from_threads(mint),
            parallel=parallel,
            on_file=on_file,
            on_bytes=on_bytes,
        )
        return run(pull)

    def _call(self, call: Call[R]) -> R:
        return self._within(self._timeout_s, call)

    def _within(self, limit_s: float | None, call: Call[R]) -> R:
        """Repeat a call for up to `limit_s` seconds. None: without a limit."""
        patience = Patience(limit_s)
        while True:
            try:
                return self._transport.answer(call, min(ATTEMPT_S, patience.left_s))
            except AutosError as error:
                failed = error
            self._pause(patience, failed)

    def _pages(self, call: Call[R]) -> Iterator[R]:
        following: Call[R] | None = call
        while following is not None:
            answer = self._call(following)
            yield answer
            following = calls.next_page(following, answer)

    def _pause(self, patience: Patience | Watching | BatchWatching, error: AutosError) -> None:
        pause_s = patience.pause_s(error)
        self._on_pause(error, pause_s)
        sleep(pause_s)
