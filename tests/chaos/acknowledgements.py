"""Record the acknowledgements of the callers: the promises that the checks compare with the end."""

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
    """An acknowledged StartDownload. `path`: the path of its webhook, "" without one."""

    job_id: str
    number: str
    request_id: str
    path: str
    created: bool


@dataclass(frozen=True)
class Redelivery:
    """An acknowledged RedeliverWebhook, and the number of deliveries before it."""

    job_id: str
    webhook_id: str
    deliveries_before: int


class Acknowledgements:
    """The acknowledgements of all callers. Thread-safe by its lock or by atomic operations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.starts: list[AcknowledgedStart] = []
        self.redeliveries: list[Redelivery] = []
        self.retries: Counter[str] = Counter()
        # Jobs for which CancelJob was called, and those that it returned as CANCELLED.
        self.cancels_requested: set[str] = set()
        self.cancelled: set[str] = set()
        # Calls abandoned without an answer: their effect may have happened.
        self.given_up: list[str] = []
        self.statuses: Counter[tuple[str, str]] = Counter()
        self.problems: list[str] = []
        # The jobs of each batch.
        self.batches: dict[str, set[str]] = {}
        # The end times that each job was seen with, in nanoseconds since 1970.
        self.ends: dict[str, set[int]] = defaultdict(set)

    def see(self, job: pb.Job) -> None:
        """Record a job as a call returned it."""
        if job.state in ENDED:
            with self._lock:
                self.ends[job.job_id].add(job.end_time.ToNanoseconds())

    def count(self, call: str, status: str) -> None:
        """Record the status of a call."""
        with self._lock:
            self.statuses[call, status] += 1

    def retried(self, job_id: str) -> None:
        """Record an acknowledged RetryJob."""
        with self._lock:
            self.retries[job_id] += 1
