"""What the callers were told: the promises against which the end is checked."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

from autos.downloads.v1 import downloads_pb2 as pb

ENDED = frozenset(
    {
        pb.JOB_STATE_COMPLETED,
        pb.JOB_STATE_PARTIALLY_COMPLETED,
        pb.JOB_STATE_FAILED,
        pb.JOB_STATE_CANCELLED,
    }
)


@dataclass(frozen=True)
class AcknowledgedStart:
    """An acknowledged StartDownload. `path`: where its webhook was to go, "" without one."""

    job_id: str
    number: str
    request_id: str
    path: str
    created: bool


@dataclass(frozen=True)
class Redelivery:
    """An acknowledged RedeliverWebhook, and how many deliveries there were before."""

    job_id: str
    webhook_id: str
    deliveries_before: int


class Acknowledgements:
    """Thread-safe by its lock or by single operations that are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.starts: list[AcknowledgedStart] = []
        self.redeliveries: list[Redelivery] = []
        self.retries: Counter[str] = Counter()
        # CancelJob asked for these jobs; those that it said are CANCELLED now.
        self.cancels_asked: set[str] = set()
        self.cancelled: set[str] = set()
        # Calls given up without an answer: what they asked for may have been done.
        self.given_up: list[str] = []
        self.statuses: Counter[tuple[str, str]] = Counter()
        self.problems: list[str] = []
        # The ends that each job was seen at, in nanoseconds since 1970.
        self.ends: dict[str, set[int]] = defaultdict(set)

    def see(self, job: pb.Job) -> None:
        """Note how a job was shown."""
        if job.state in ENDED:
            with self._lock:
                self.ends[job.job_id].add(job.end_time.ToNanoseconds())

    def count(self, call: str, status: str) -> None:
        """Note how a call was answered."""
        with self._lock:
            self.statuses[call, status] += 1

    def retried(self, job_id: str) -> None:
        """Note an acknowledged RetryJob."""
        with self._lock:
            self.retries[job_id] += 1
