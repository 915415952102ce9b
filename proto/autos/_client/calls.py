"""The RPCs with their requests, for both clients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Generic, TypedDict, TypeVar, Unpack
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
    """A call: its request, and the class of the answer. Both have the name of the method."""

    request: Any
    answer: type[R]

    @property
    def wire(self) -> dict[str, Any]:
        """Return the arguments with which a channel makes this call."""
        method = type(self.request).DESCRIPTOR.name.removesuffix("Request")
        return {
            "method": f"/{SERVICE}/{method}",
            "request_serializer": type(self.request).SerializeToString,
            "response_deserializer": self.answer.FromString,
        }


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
    return Call(request, pb.StartDownloadResponse)


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
    return Call(request, pb.StartDownloadsResponse)


def batch_size(**options: Unpack[StartOptions]) -> int:
    """Return how many process numbers with these options fit in one StartDownloads."""
    one = pb.StartDownloadsRequest(requests=[start_request("0" * 25, **options)]).ByteSize()
    # Room for the request_id.
    return max(1, min(BATCH, (MOST_BYTES - 100) // one))


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
        max_age=duration(max_age),
        priority=priority,
        selection=selection,
        list_only=list_only,
        labels=labels,
        not_before_time=timestamp(not_before),
        retention=duration(retention),
    )


def next_page(call: Call[R], answer: Any) -> Call[R] | None:
    """Return the call for the page after `answer`; None after the last page."""
    if not answer.next_page_token:
        return None
    request = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = answer.next_page_token
    return Call(request, call.answer)


def target_of(target: str) -> dict[str, Any]:
    """Return the field of a request that names the job."""
    return {"process_number" if is_process_number(target) else "job_id": target}


def duration(length: timedelta | None) -> Duration | None:
    """Return a duration as a message; None stays None."""
    if length is None:
        return None
    wanted = Duration()
    wanted.FromTimedelta(length)
    return wanted


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time; a datetime without a zone is local time."""
    if moment is None:
        return None
    wanted = Timestamp()
    wanted.FromDatetime(moment.astimezone(UTC))
    return wanted
