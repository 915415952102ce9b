"""Every RPC with its request, for both clients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb

R = TypeVar("R", bound=Message)
SERVICE = pb.DESCRIPTOR.services_by_name["DownloadService"].full_name
# The server gives 500 jobs and 1,000 documents at most; a job is the larger of the two.
JOBS_PAGE = 100
DOCUMENTS_PAGE = 1000
_NUMBER = re.compile(r"[\d.\-\s]{1,40}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Call(Generic[R]):
    """A method by its name, its request, and what it answers."""

    method: str
    request: Any
    answer: type[R]

    @property
    def wire(self) -> dict[str, Any]:
        """The arguments by which a channel makes this call."""
        return {
            "method": f"/{SERVICE}/{self.method}",
            "request_serializer": type(self.request).SerializeToString,
            "response_deserializer": self.answer.FromString,
        }


Watch: TypeAlias = Call[pb.WatchProgressResponse]


def is_process_number(target: str) -> bool:
    """Whether a target names a case; else it is a job_id."""
    return _NUMBER.fullmatch(target) is not None and _UUID.fullmatch(target) is None


def start(
    process_number: str,
    *,
    webhook_url: str,
    request_id: str | None,
    max_age: timedelta | None,
    priority: pb.Priority,
) -> Call[pb.StartDownloadResponse]:
    """StartDownload. Without a request_id it gets one, so that it may be repeated."""
    request = pb.StartDownloadRequest(
        process_number=process_number,
        webhook_url=webhook_url,
        request_id=request_id or str(uuid4()),
        max_age=_duration(max_age),
        priority=priority,
    )
    return Call("StartDownload", request, pb.StartDownloadResponse)


def status(target: str) -> Call[pb.GetStatusResponse]:
    """GetStatus."""
    return Call("GetStatus", pb.GetStatusRequest(**_target(target)), pb.GetStatusResponse)


def watch(target: str, after_revision: int, heartbeat_s: float) -> Watch:
    """WatchProgress."""
    request = pb.WatchProgressRequest(
        **_target(target),
        after_revision=after_revision,
        heartbeat_interval=_duration(timedelta(seconds=heartbeat_s)),
    )
    return Call("WatchProgress", request, pb.WatchProgressResponse)


def jobs(
    process_number: str, states: Iterable[pb.JobState], page_size: int
) -> Call[pb.ListJobsResponse]:
    """ListJobs, the first page."""
    request = pb.ListJobsRequest(page_size=page_size, process_number=process_number, states=states)
    return Call("ListJobs", request, pb.ListJobsResponse)


def documents(
    job_id: str, states: Iterable[pb.DocumentState], page_size: int
) -> Call[pb.ListDocumentsResponse]:
    """ListDocuments, the first page."""
    request = pb.ListDocumentsRequest(job_id=job_id, page_size=page_size, states=states)
    return Call("ListDocuments", request, pb.ListDocumentsResponse)


def next_page(call: Call[R], answer: Any) -> Call[R] | None:
    """The call for the page after `answer`, None after the last."""
    if not answer.next_page_token:
        return None
    request = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = answer.next_page_token
    return Call(call.method, request, call.answer)


def cancel(job_id: str) -> Call[pb.CancelJobResponse]:
    """CancelJob."""
    return Call("CancelJob", pb.CancelJobRequest(job_id=job_id), pb.CancelJobResponse)


def retry(job_id: str, request_id: str | None) -> Call[pb.RetryJobResponse]:
    """RetryJob. Without a request_id it gets one, so that it may be repeated."""
    request = pb.RetryJobRequest(job_id=job_id, request_id=request_id or str(uuid4()))
    return Call("RetryJob", request, pb.RetryJobResponse)


def url(
    job_id: str, document_id: str, lifetime: timedelta | None
) -> Call[pb.GetDocumentUrlResponse]:
    """GetDocumentUrl."""
    request = pb.GetDocumentUrlRequest(
        job_id=job_id, document_id=document_id, lifetime=_duration(lifetime)
    )
    return Call("GetDocumentUrl", request, pb.GetDocumentUrlResponse)


def document(job_id: str, document_id: str) -> Call[pb.GetDocumentResponse]:
    """GetDocument."""
    request = pb.GetDocumentRequest(job_id=job_id, document_id=document_id)
    return Call("GetDocument", request, pb.GetDocumentResponse)


def redeliver(job_id: str, request_id: str | None) -> Call[pb.RedeliverWebhookResponse]:
    """RedeliverWebhook. Without a request_id it gets one, so that it may be repeated."""
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
