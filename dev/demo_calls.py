"""The demo's cases, and its calls of Autos and of the sandbox portal."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
import requests
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.demo_screen import DemoFailure
from dev.health import OPTIONS
from tests.sandbox.cnj import process_number

CALL_TIMEOUT_S = 10.0
JOB_TIMEOUT_S = 120.0
FAILING_CASE = "1003579-22.2025.8.26.0564"
ENDED = {
    pb.JOB_STATE_COMPLETED,
    pb.JOB_STATE_PARTIALLY_COMPLETED,
    pb.JOB_STATE_FAILED,
    pb.JOB_STATE_CANCELLED,
}

Told = pb.WatchProgressResponse | grpc.RpcError


@dataclass
class Case:
    """A case of the demo, and what is known of its job so far."""

    number: str
    about: str
    expected: pb.JobState
    webhook_url: str
    is_new: bool = True
    job: pb.Job = field(default_factory=pb.Job)
    documents: dict[str, pb.Document] = field(default_factory=dict)

    @property
    def is_ended(self) -> bool:
        """Whether its job is over."""
        return self.job.state in ENDED

    @property
    def waiting_for_retry(self) -> int:
        """Documents that failed at least once and are tried again."""
        over = (pb.DOCUMENT_STATE_AVAILABLE, pb.DOCUMENT_STATE_FAILED, pb.DOCUMENT_STATE_CANCELLED)
        return sum(d.HasField("error") and d.state not in over for d in self.documents.values())

    def take(self, told: pb.WatchProgressResponse) -> None:
        """Note what WatchProgress told."""
        if told.HasField("job"):
            self.job = told.job
        elif told.HasField("document"):
            self.documents[told.document.document_id] = told.document


class Calls:
    """Autos at an address, for as long as the context lasts."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._api: Any = pb_grpc.DownloadServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def await_known(self) -> None:
        """Returns when the server has heard of the token; raises what it answers otherwise."""
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            try:
                self._call(self._api.ListJobs, pb.ListJobsRequest(page_size=1))
            except grpc.RpcError as error:
                is_new = error.code() is grpc.StatusCode.UNAUTHENTICATED
                if not is_new or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _call(self, method: Any, request: Any) -> Any:
        return method(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)

    def start(self, case: Case) -> None:
        """StartDownload, with the portal asked anew whatever is known of the case."""
        request = pb.StartDownloadRequest(
            process_number=case.number, webhook_url=case.webhook_url, max_age=Duration()
        )
        answer = self._call(self._api.StartDownload, request)
        case.job, case.is_new = answer.job, answer.created

    def watch(self, case: Case, tell: Callable[[Case, Told], None]) -> None:
        """Pass on what WatchProgress tells, from a thread, and the error that ends it, if any."""

        def follow() -> None:
            try:
                self._follow(case.job.job_id, lambda told: tell(case, told))
            except grpc.RpcError as error:
                tell(case, error)

        threading.Thread(target=follow, daemon=True).start()

    def _follow(self, job_id: str, tell: Callable[[pb.WatchProgressResponse], None]) -> None:
        revision = 0
        while True:
            request = pb.WatchProgressRequest(job_id=job_id, after_revision=revision)
            stream = self._api.WatchProgress(
                request, timeout=JOB_TIMEOUT_S, wait_for_ready=True, metadata=self._metadata
            )
            try:
                for told in stream:
                    revision = told.revision
                    tell(told)
            except grpc.RpcError as error:
                # A server that is being started again. We go on where we were.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                return

    def job(self, job_id: str) -> pb.Job:
        """GetStatus."""
        request = pb.GetStatusRequest(job_id=job_id)
        job: pb.Job = self._call(self._api.GetStatus, request).job
        return job

    def documents(self, job_id: str) -> list[pb.Document]:
        """ListDocuments; the demo's cases fit on one page."""
        request = pb.ListDocumentsRequest(job_id=job_id, page_size=1000)
        return list(self._call(self._api.ListDocuments, request).documents)


def demo_cases(portal_url: str, hook_url: Callable[[str], str]) -> list[Case]:
    """One that nobody has asked for yet, and one of which most is lost at the portal."""
    fresh = _fresh_case(portal_url)
    # Webhooks of earlier demos may still be tried; these paths are nobody else's.
    run = f"{random.getrandbits(32):08x}"
    return [
        Case(
            fresh,
            "40 documents, all slow; three fail at first",
            pb.JOB_STATE_COMPLETED,
            hook_url(f"/demo/{run}/fresh"),
        ),
        Case(
            FAILING_CASE,
            "43 documents; the portal has lost 35 of them",
            pb.JOB_STATE_PARTIALLY_COMPLETED,
            hook_url(f"/demo/{run}/failing"),
        ),
    ]


def _fresh_case(portal_url: str) -> str:
    """Have the sandbox make a case under a number that it has not had before."""
    wanted = {
        "number": process_number(random.randrange(2_000_000, 9_000_000), year=2025),
        "documents": 40,
        "kind": "mix",
        "size": 200_000,
        "latency_ms": 350,
        "faults": {"4": "502-once", "17": "503-once", "26": "504-once"},
    }
    with requests.Session() as session:
        session.trust_env = False  # no proxy on the way to loopback
        answer = session.post(f"{portal_url}/sandbox/cases", json=wanted, timeout=CALL_TIMEOUT_S)
    if answer.status_code != requests.codes.ok:
        raise DemoFailure(f"The sandbox portal makes no case for the demo: {answer.text[:200]}")
    number: str = answer.json()["number"]
    return number
