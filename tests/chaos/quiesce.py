"""Wait until all started work is done, and report what is not done at the deadline.

A deadline begins anew with each progress, so that a busy machine fails no run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.callers.case_watcher import CaseWatcher
from tests.chaos.callers.mixed_workload import BUDGET, Mix
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.chaos_environment import ChaosEnvironment
from tests.chaos.checks.snapshot import Bucket, queued, spooled

JOBS_S = 150.0
WEBHOOKS_S = 90.0
LEFTOVERS_S = 60.0
LOOK_S = 0.5
# Progress that goes on for so many times the deadline is none.
MOST_DEADLINES = 4
# Files of killed workers are swept a minute after they were last written.
AGE_S = 3_600
UNTOLD = (pb.WEBHOOK_STATE_WAITING, pb.WEBHOOK_STATE_PENDING)
MOST_TOLD = 5
HIDDEN_S = 3.0


def settle(environment: ChaosEnvironment, client: RetryingClient) -> list[str]:
    """Wait for jobs, webhooks and cleaning up; return what is not done in time."""
    return [
        *_await("ended", lambda: _running(client), JOBS_S),
        *_await("told", lambda: _undelivered(client), WEBHOOKS_S),
        *_await("cleared up", _Leftovers(environment, client).look, LEFTOVERS_S),
    ]


def end_mix(
    environment: ChaosEnvironment,
    client: RetryingClient,
    mix: Mix,
    watchers: Sequence[CaseWatcher],
) -> list[str]:
    """End the watches, and cancel the jobs that wait for the budget once nothing else runs."""
    for watcher in watchers:
        watcher.unsubscribe()
    unsettled = _await("ended", lambda: _running(client, waits_count=False), JOBS_S)
    beyond = sum(len(each.numbers) - each.budget for each in mix.batches if each.budget)
    waiting = [] if unsettled else client.running_jobs(timeout_s=10)
    if len(waiting) != beyond and not unsettled:
        unsettled.append(f"{len(waiting)} jobs wait for the budget, not {beyond}")
    for job in waiting:
        environment.ledger.cancels_requested.add(job.job_id)
        client.call("CancelJob", pb.CancelJobRequest(job_id=job.job_id))
    return unsettled


def _await(what: str, rest: Callable[[], list[str]], deadline_s: float) -> list[str]:
    begun = last_progress = time.monotonic()
    before: list[str] = []
    while left := rest():
        now = time.monotonic()
        if left != before:
            before, last_progress = left, now
        if now > min(last_progress, begun + (MOST_DEADLINES - 1) * deadline_s) + deadline_s:
            shown = [f"not {what} after {deadline_s:.0f} s: {each}" for each in left[:MOST_TOLD]]
            more = len(left) - len(shown)
            return [*shown, *([f"and {more} more"] if more else [])]
        time.sleep(LOOK_S)
    return []


def _running(client: RetryingClient, *, waits_count: bool = True) -> list[str]:
    try:
        jobs = client.running_jobs(timeout_s=10)
    except grpc.RpcError as error:
        return [f"ListJobs: {error!r}"]
    return [
        f"job {job.job_id}: {job.progress}".replace("\n", " ")
        for job in jobs
        if waits_count or job.hold.reason != BUDGET
    ]


def _undelivered(client: RetryingClient) -> list[str]:
    return [
        f"webhook of job {job.job_id}: {hook}".replace("\n", " ")
        for job in client.all_jobs()
        for hook in job.webhooks
        if hook.state in UNTOLD
    ]


class _Leftovers:
    """Data that remains although no process needs it any more."""

    def __init__(self, environment: ChaosEnvironment, client: RetryingClient) -> None:
        self._world = environment
        self._client = client
        self._bucket = Bucket(environment)
        self._begun = time.monotonic()
        self._is_restarted = False
        self._named: set[str] | None = None

    def look(self) -> list[str]:
        """Return a line for each item."""
        files = spooled(self._world)
        for file in files:
            _make_old(Path(file))
        messages = queued(self._world)
        if messages and all(map(_is_hidden, messages)):
            self._restart_consumers()
        return [
            *(f"spool file {file}" for file in files),
            *(f"multipart upload {key}" for key in self._bucket.open_uploads()),
            *(f"object {key} without a row" for key in self._bucket.keys() - self._names()),
            *(f"{count} messages in {key}" for key, count in messages.items()),
        ]

    def _names(self) -> set[str]:
        """Return the objects that rows name. Once all jobs have ended, no more come."""
        if self._named is None:
            jobs = self._client.all_jobs()
            self._named = {d.object_key for j in jobs for d in self._client.documents(j.job_id)}
        return self._named

    def _restart_consumers(self) -> None:
        if self._is_restarted or time.monotonic() - self._begun < HIDDEN_S:
            return
        self._is_restarted = True
        self._world.log("chaos    consumers end, for messages that they do not know they have")
        for host in self._world.hosts.values():
            for name in set(host.names) - {"server", "scheduler"}:
                leader = host.supervisor.pid_of(name)
                if leader is not None:
                    os.kill(leader, signal.SIGTERM)


def _make_old(file: Path) -> None:
    """Age the files, so that a run need not wait for the minute after which they are swept."""
    with contextlib.suppress(FileNotFoundError):
        old = time.time() - AGE_S
        os.utime(file, (old, old))


def _is_hidden(key: str) -> bool:
    """Return True if a living consumer was given these messages without receiving them.

    Dramatiq takes them out of the queue, and the answer was lost. They return when the consumer has
    ended; the scheduler has had their work done long before.
    """
    return "__acks__" in key or (key.endswith(".msgs") and not key.endswith(".XQ.msgs"))
