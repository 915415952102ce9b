"""Measure how long jobs make no progress after a fault, as ListJobs shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from tests.chaos.callers.mixed_workload import BUDGET
from tests.chaos.callers.retrying_client import RetryingClient

LOOK_S = 0.25
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Look:
    """The revisions of the running jobs at a moment (seconds since 1970)."""

    time: float
    revisions: Mapping[str, int]


class Progress:
    """Polls the running jobs four times a second between `start` and `stop`."""

    def __init__(self, client: RetryingClient) -> None:
        self._client = client
        self._looks: list[Look] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Poll from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the polling."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                running = self._client.running_jobs(timeout_s=TIMEOUT_S)
            except grpc.RpcError:
                continue
            # A job that waits for the budget waits for no repair.
            moving = {job.job_id: job.revision for job in running if job.hold.reason != BUDGET}
            self._looks.append(Look(time.time(), moving))

    def standstills(self, since: float) -> list[float]:
        """Return the seconds until progress for each job that was running at `since`."""
        after = [look for look in self._looks if look.time >= since]
        if not after:
            return []
        first = after[0]
        return [
            seconds
            for job_id, revision in first.revisions.items()
            if (seconds := _moved(after, job_id, revision, since)) is not None
        ]


def _moved(looks: list[Look], job_id: str, revision: int, since: float) -> float | None:
    for look in looks:
        if look.revisions.get(job_id) != revision:
            return look.time - since
    return None


def quantile(values: list[float], part: float) -> float:
    """Return the value below which `part` of the values lie; 0 without any."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]
