"""A caller that obeys the contract: it repeats a call after UNAVAILABLE, unchanged."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from tests.chaos.acknowledgements import Acknowledgements

CALL_TIMEOUT_S = 10.0
PATIENCE_S = 90.0
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
RUNNING = (pb.JOB_STATE_PENDING, pb.JOB_STATE_PROCESSING)
PUSHBACK = "grpc-retry-pushback-ms"
DETAILS = "grpc-status-details-bin"
OPTIONS = (
    ("grpc.enable_retries", 0),  # Disable gRPC's own retries, so that every answer is seen.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class GivenUp(Exception):
    """No answer came before the caller's deadline."""


class RetryingClient:
    """Calls Autos at an address and records the acknowledgements. Thread-safe."""

    def __init__(self, address: str, ledger: Acknowledgements) -> None:
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._ledger = ledger
        self.api: Any = pb_grpc.DownloadServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def call(self, name: str, request: Any, *, patience_s: float = PATIENCE_S) -> Any:
        """Return the answer. Raises grpc.RpcError for a permanent error, or GivenUp."""
        until = time.monotonic() + patience_s
        while True:
            try:
                answer = getattr(self.api, name)(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                pause_s = self._note(name, error)
                if error.code() not in RETRIED:
                    raise
                if time.monotonic() > until:
                    self._ledger.given_up.append(name)
                    raise GivenUp(name) from error
                time.sleep(pause_s)
            else:
                self._ledger.count(name, "OK")
                return answer

    def _note(self, name: str, error: Any) -> float:
        """Record the error; return the seconds until the call may be repeated."""
        code = error.code()
        trailers = dict(error.trailing_metadata() or ())
        is_ours = DETAILS in trailers
        self._ledger.count(name, f"{code.name}{'' if is_ours else ' (connection)'}")
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            self._ledger.problems.append(f"{name} was answered {code.name}: {error.details()}")
        if code is grpc.StatusCode.UNAVAILABLE and is_ours and PUSHBACK not in trailers:
            self._ledger.problems.append(f"{name}: UNAVAILABLE without a pushback")
        return int(trailers.get(PUSHBACK, 200)) / 1000

    def job(self, job_id: str, *, patience_s: float = PATIENCE_S) -> pb.Job:
        """Call GetStatus."""
        request = pb.GetStatusRequest(job_id=job_id)
        job: pb.Job = self.call("GetStatus", request, patience_s=patience_s).job
        self._ledger.see(job)
        return job

    def running_jobs(self, *, timeout_s: float) -> list[pb.Job]:
        """Return the jobs that have not ended, in one attempt. Raises grpc.RpcError."""
        request = pb.ListJobsRequest(page_size=500, states=RUNNING)
        return list(self.api.ListJobs(request, timeout=timeout_s).jobs)

    def all_jobs(self) -> list[pb.Job]:
        """Return every job."""
        return self._pages("ListJobs", pb.ListJobsRequest(page_size=500), "jobs")

    def documents(self, job_id: str) -> list[pb.Document]:
        """Return every document of a job, in the order of the case file."""
        request = pb.ListDocumentsRequest(job_id=job_id, page_size=1000)
        return self._pages("ListDocuments", request, "documents")

    def all_events(self) -> list[pb.Event]:
        """Return the whole log of events, without documents."""
        found: list[pb.Event] = []
        has_more = True
        while has_more:
            request = pb.ListEventsRequest(
                after_cursor=found[-1].cursor if found else "",
                page_size=500,
                without_documents=True,
            )
            answer: pb.ListEventsResponse = self.call("ListEvents", request)
            found += answer.events
            has_more = answer.has_more
        return found

    def batch(self, batch_id: str) -> pb.Batch:
        """Return a batch."""
        batch: pb.Batch = self.call("GetBatch", pb.GetBatchRequest(batch_id=batch_id)).batch
        return batch

    def _pages(self, name: str, request: Any, field: str) -> list[Any]:
        found: list[Any] = []
        while True:
            answer = self.call(name, request)
            found += getattr(answer, field)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token
