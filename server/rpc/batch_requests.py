"""A StartDownloads converted to plain values: each request is checked by itself."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.requests import Checks, refuse, require_short, uuid_of
from server.rpc.starts import start_requests
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError
from storage.jobs.job_start import StartRequest
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
