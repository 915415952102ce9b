"""Wait until no job of the first section changes any more."""

from __future__ import annotations

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.processes.deadline import until
from tests.sandbox.court_cases.cases import CASES

DEADLINE_S = 120.0


def settle(api: pb_grpc.DownloadServiceStub) -> None:
    """Wait until the webhook is delivered and only the slow document of its job is left.

    Raises TimeoutError.
    """

    def job(slug: str) -> pb.Job:
        request = pb.GetStatusRequest(process_number=CASES[slug].number)
        found: pb.Job = api.GetStatus(request, timeout=30).job
        return found

    def is_settled() -> bool:
        return job("one-pdf").webhooks[0].state == pb.WEBHOOK_STATE_DELIVERED

    def is_dripping() -> bool:
        request = pb.ListDocumentsRequest(job_id=job("drip").job_id)
        states = [each.state for each in api.ListDocuments(request, timeout=30).documents]
        return sorted(states) == [pb.DOCUMENT_STATE_DOWNLOADING, pb.DOCUMENT_STATE_AVAILABLE]

    until(is_settled, DEADLINE_S, "the webhook was not delivered")
    until(is_dripping, DEADLINE_S, "the job never came so far")
