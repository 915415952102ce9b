"""The demo's cases: their creation at the sandbox portal, and the watches of their jobs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from autos import JOB_ENDS, AutosError, Client, NotAllowed, pb
from dev.demo.demo_console import DemoFailure
from tests.sandbox.court_cases.cnj import process_number

CALL_TIMEOUT_S = 10.0
JOB_TIMEOUT_S = 120.0
FAILING_CASE = "1003579-22.2025.8.26.0564"
News = pb.WatchProgressResponse | AutosError


@dataclass
class Case:
    """A case of the demo, with the last known state of its job."""

    number: str
    about: str
    expected: pb.JobState
    webhook_url: str
    is_new: bool = True
    job: pb.Job = field(default_factory=pb.Job)
    documents: dict[str, pb.Document] = field(default_factory=dict)

    @property
    def is_ended(self) -> bool:
        """Return True if its job has ended."""
        return self.job.state in JOB_ENDS

    @property
    def waiting_for_retry(self) -> int:
        """Return how many documents failed at least once and will be tried again."""
        over = (pb.DOCUMENT_STATE_AVAILABLE, pb.DOCUMENT_STATE_FAILED, pb.DOCUMENT_STATE_CANCELLED)
        return sum(d.HasField("error") and d.state not in over for d in self.documents.values())

    def take(self, message: pb.WatchProgressResponse) -> None:
        """Keep the content of a message of WatchProgress."""
        if message.HasField("job"):
            self.job = message.job
        elif message.HasField("document"):
            self.documents[message.document.document_id] = message.document


def await_known(client: Client) -> None:
    """Return when the server accepts the client's token. Raises AutosError."""
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while True:
        try:
            next(client.jobs(page_size=1), None)
        except NotAllowed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def watch(client: Client, case: Case, show: Callable[[Case, News], None]) -> None:
    """Start a thread that passes the messages of WatchProgress, and a final error, to `show`."""

    def follow() -> None:
        try:
            for message in client.watch(case.job.job_id, timeout_s=JOB_TIMEOUT_S):
                show(case, message)
        except AutosError as error:
            show(case, error)

    threading.Thread(target=follow, daemon=True).start()


def demo_cases(portal_url: str, hook_url: Callable[[str], str]) -> list[Case]:
    """Return a new case, and a case that has lost most of its documents at the portal."""
    fresh = _fresh_case(portal_url)
    # Webhooks of earlier demos may still arrive; the paths are unique to this run.
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
    """Make the sandbox portal create a case under a new number. Return the number."""
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
