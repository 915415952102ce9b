"""The RPCs with their requests, for both clients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import InvalidRequest

R = TypeVar("R", bound=Message)
SERVICE = pb.DESCRIPTOR.services_by_name["DownloadService"].full_name
# The server's maximum is 500 jobs or 1,000 documents. A job's message is larger than a document's.
JOBS_PAGE = 100
DOCUMENTS_PAGE = 1000
EVENTS_PAGE = 100
SUBSCRIPTIONS_PAGE = 500
# The most requests of one StartDownloads.
BATCH = 1000
# The most bytes of a request of the server.
MOST_BYTES = 1024 * 1024
# The server answers a SendTestWebhook within 45 s.
TEST_WEBHOOK_S = 60.0
# Shorter than one attempt of a call.
EVENT_WAIT_S = 8.0
_NUMBER = re.compile(r"[\d.\-\s]{1,40}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Call(Generic[R]):
    """A call: the name of the method, the request, and the class of the response."""

    method: str
    request: Any
    answer: type[R]

    @property
    def wire(self) -> dict[str, Any]:
        """Return the arguments with which a channel makes this call."""
        return {
            "method": f"/{SERVICE}/{self.method}",
            "request_serializer": type(self.request).SerializeToString,
            "response_deserializer": self.answer.FromString,
        }


Watch: TypeAlias = Call[pb.WatchProgressResponse]


def is_process_number(target: str) -> bool:
    """Return True if a target is a process number; otherwise it is a job_id."""
    return _NUMBER.fullmatch(target) is not None and _UUID.fullmatch(target) is None


class StartOptions(TypedDict, total=False):
    """The options of a start: see Client.start."""

    webhook_url: str
    max_age: timedelta | None
    priority: pb.Priority
    selection: pb.Selection | None
    list_only: bool
    labels: Mapping[str, str]
    not_before: datetime | None
    retention: timedelta | None


def start(
    process_number: str, request_id: str | None, **options: Unpack[StartOptions]
) -> Call[pb.StartDownloadResponse]:
    """Return the call of StartDownload. If request_id is None, a new one makes it repeatable."""
    request = start_request(process_number, **options)
    request.request_id = request_id or str(uuid4())
    return Call("StartDownload", request, pb.StartDownloadResponse)


def start_many(
    requests: Iterable[str | pb.StartDownloadRequest],
    request_id: str | None,
    **options: Unpack[StartOptions],
) -> Call[pb.StartDownloadsResponse]:
    """Return the call of StartDownloads. If request_id is None, a new one makes it repeatable.

    Raises InvalidRequest if it is too large: the server would refuse it without a reason.
    """
    request = pb.StartDownloadsRequest(
        requests=[
            start_request(each, **options) if isinstance(each, str) else each for each in requests
        ],
        request_id=request_id or str(uuid4()),
    )
    if (size := request.ByteSize()) > MOST_BYTES:
        raise InvalidRequest(
            f"These requests have {size} bytes, and a call takes {MOST_BYTES} at most:"
            " start fewer at once.",
            reason="INVALID_REQUEST",
            violations={"requests": f"must have at most {MOST_BYTES} bytes together."},
        )
    return Call("StartDownloads", request, pb.StartDownloadsResponse)


def batch_size(**options: Unpack[StartOptions]) -> int:
    """Return how many process numbers with these options fit in one StartDownloads."""
    one = pb.StartDownloadsRequest(requests=[start_request("0" * 25, **options)]).ByteSize()
    # Room for the request_id.
    return max(1, min(BATCH, (MOST_BYTES - 100) // one))


def batch(batch_id: str) -> Call[pb.GetBatchResponse]:
    """Return the call of GetBatch."""
    return Call("GetBatch", pb.GetBatchRequest(batch_id=batch_id), pb.GetBatchResponse)


def start_request(
    process_number: str,
    *,
    webhook_url: str = "",
    max_age: timedelta | None = None,
    priority: pb.Priority = pb.PRIORITY_UNSPECIFIED,
    selection: pb.Selection | None = None,
    list_only: bool = False,
    labels: Mapping[str, str] = MappingProxyType({}),
    not_before: datetime | None = None,
    retention: timedelta | None = None,
) -> pb.StartDownloadRequest:
    """Return the request of one job."""
    return pb.StartDownloadRequest(
        process_number=process_number,
        webhook_url=webhook_url,
        max_age=_duration(max_age),
        priority=priority,
        selection=selection,
        list_only=list_only,
        labels=labels,
        not_before_time=_timestamp(not_before),
        retention=_duration(retention),
    )


def status(target: str) -> Call[pb.GetStatusResponse]:
    """Return the call of GetStatus."""
    return Call("GetStatus", pb.GetStatusRequest(**_target(target)), pb.GetStatusResponse)


def watch(target: str, after_revision: int, heartbeat_s: float) -> Watch:
    """Return the call of WatchProgress."""
    request = pb.WatchProgressRequest(
        **_target(target),
        after_revision=after_revision,
        heartbeat_interval=_duration(timedelta(seconds=heartbeat_s)),
    )
    return Call("WatchProgress", request, pb.WatchProgressResponse)


def jobs(
    process_number: str,
    states: Iterable[pb.JobState],
    page_size: int,
    labels: Mapping[str, str],
    created_from: datetime | None,
    created_to: datetime | None,
    batch_id: str,
) -> Call[pb.ListJobsResponse]:
    """Return the call of ListJobs for the first page."""
    request = pb.ListJobsRequest(
        page_size=page_size,
        process_number=process_number,
        states=states,
        labels=labels,
        create_time_from=_timestamp(created_from),
        create_time_to=_timestamp(created_to),
        batch_id=batch_id,
    )
    return Call("ListJobs", request, pb.ListJobsResponse)


def documents(
    job_id: str, states: Iterable[pb.DocumentState], page_size: int
) -> Call[pb.ListDocumentsResponse]:
    """Return the call of ListDocuments for the first page."""
    request = pb.ListDocumentsRequest(job_id=job_id, page_size=page_size, states=states)
    return Call("ListDocuments", request, pb.ListDocumentsResponse)


def next_page(call: Call[R], answer: Any) -> Call[R] | None:
    """Return the call for the page after `answer`; None after the last page."""
    if not answer.next_page_token:
        return None
    request = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = answer.next_page_token
    return Call(call.method, request, call.answer)


def cancel(job_id: str) -> Call[pb.CancelJobResponse]:
    """Return the call of CancelJob."""
    return Call("CancelJob", pb.CancelJobRequest(job_id=job_id), pb.CancelJobResponse)


def retry(job_id: str, request_id: str | None) -> Call[pb.RetryJobResponse]:
    """Return the call of RetryJob. If request_id is None, a new one makes it repeatable."""
    request = pb.RetryJobRequest(job_id=job_id, request_id=request_id or str(uuid4()))
    return Call("RetryJob", request, pb.RetryJobResponse)


def url(
    job_id: str, document_id: str, lifetime: timedelta | None
) -> Call[pb.GetDocumentUrlResponse]:
    """Return the call of GetDocumentUrl."""
    request = pb.GetDocumentUrlRequest(
        job_id=job_id, document_id=document_id, lifetime=_duration(lifetime)
    )
    return Call("GetDocumentUrl", request, pb.GetDocumentUrlResponse)


def document(job_id: str, document_id: str) -> Call[pb.GetDocumentResponse]:
    """Return the call of GetDocument."""
    request = pb.GetDocumentRequest(job_id=job_id, document_id=document_id)
    return Call("GetDocument", request, pb.GetDocumentResponse)


def case(process_number: str) -> Call[pb.GetCaseResponse]:
    """Return the call of GetCase."""
    request = pb.GetCaseRequest(process_number=process_number)
    return Call("GetCase", request, pb.GetCaseResponse)


def case_listing(process_number: str) -> Call[pb.GetCaseListingResponse]:
    """Return the call of GetCaseListing."""
    request = pb.GetCaseListingRequest(process_number=process_number)
    return Call("GetCaseListing", request, pb.GetCaseListingResponse)


def events(
    after_cursor: str, page_size: int, wait: timedelta, without_documents: bool
) -> Call[pb.ListEventsResponse]:
    """Return the call of ListEvents."""
    request = pb.ListEventsRequest(
        after_cursor=after_cursor,
        page_size=page_size,
        wait=_duration(wait),
        without_documents=without_documents,
    )
    return Call("ListEvents", request, pb.ListEventsResponse)


def subscribe(
    process_number: str,
    *,
    interval: timedelta | None,
    webhook_url: str,
    selection: pb.Selection | None,
    list_only: bool,
    labels: Mapping[str, str],
) -> Call[pb.SubscribeCaseResponse]:
    """Return the call of SubscribeCase."""
    request = pb.SubscribeCaseRequest(
        process_number=process_number,
        interval=_duration(interval),
        webhook_url=webhook_url,
        selection=selection,
        list_only=list_only,
        labels=labels,
    )
    return Call("SubscribeCase", request, pb.SubscribeCaseResponse)


def unsubscribe(process_number: str) -> Call[pb.UnsubscribeCaseResponse]:
    """Return the call of UnsubscribeCase."""
    request = pb.UnsubscribeCaseRequest(process_number=process_number)
    return Call("UnsubscribeCase", request, pb.UnsubscribeCaseResponse)


def subscriptions(page_size: int) -> Call[pb.ListSubscriptionsResponse]:
    """Return the call of ListSubscriptions for the first page."""
    request = pb.ListSubscriptionsRequest(page_size=page_size)
    return Call("ListSubscriptions", request, pb.ListSubscriptionsResponse)


def usage() -> Call[pb.GetUsageResponse]:
    """Return the call of GetUsage."""
    return Call("GetUsage", pb.GetUsageRequest(), pb.GetUsageResponse)


def test_webhook(webhook_url: str) -> Call[pb.SendTestWebhookResponse]:
    """Return the call of SendTestWebhook."""
    request = pb.SendTestWebhookRequest(webhook_url=webhook_url)
    return Call("SendTestWebhook", request, pb.SendTestWebhookResponse)


def redeliver(job_id: str, request_id: str | None) -> Call[pb.RedeliverWebhookResponse]:
    """Return the call of RedeliverWebhook. If request_id is None, a new one makes it repeatable."""
    request = pb.RedeliverWebhookRequest(job_id=job_id, request_id=request_id or str(uuid4()))
    return Call("RedeliverWebhook", request, pb.RedeliverWebhookResponse)


def _target(target: str) -> dict[str, Any]:
    return {"process_number" if is_process_number(target) else "job_id": target}


def _duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def _timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time; a datetime without a zone is local time."""
    if moment is None:
        return None
    wanted = Timestamp()
    wanted.FromDatetime(moment.astimezone(UTC))
    return wanted
