"""Run one caller: it starts a job, follows its plan, and records the acknowledgements."""

from __future__ import annotations

import threading
import time
from uuid import UUID, uuid5

import grpc
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import ENDED, AcknowledgedStart, Redelivery
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.callers.stream_reader import StreamReader
from tests.chaos.callers.workload import JobPlan
from tests.chaos.chaos_environment import ChaosEnvironment

LOOK_S = 1.0
# Actions after a job's end happen only if the end comes in time.
PATIENCE_S = 120.0


class JobCaller:
    """The caller of one case, until `stop` is set."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        client: RetryingClient,
        plan: JobPlan,
        number: str,
        stop: threading.Event,
    ) -> None:
        self.plan = plan
        self.at_s = plan.at_s
        self.watcher: StreamReader | None = None
        self._world = environment
        self._ledger = environment.ledger
        self._client = client
        self._stop = stop
        self._request = pb.StartDownloadRequest(
            process_number=number, request_id=str(plan.request_id)
        )
        self._job_id = ""

    def live(self) -> None:
        """Follow the whole plan.

        Raises GivenUp, or grpc.RpcError for an error that no caller should get.
        """
        path = self._script()
        begun = time.monotonic()
        self._job_id = self._start(self._request, path).job_id
        if self.plan.is_watched:
            self.watcher = StreamReader(self._client, self._ledger, self._job_id)
            self.watcher.start()
        steps = {
            self._join: self.plan.joins_s,
            self._repeat: self.plan.repeats_s,
            self._cancel: self.plan.cancels_s,
        }
        for step, after_s in sorted(steps.items(), key=lambda pair: pair[1]):
            if after_s and not self._stop.wait(max(0.0, begun + after_s - time.monotonic())):
                step()
        self._after_end()

    def _path(self, which: str) -> str:
        return f"/job/{self.plan.index}/{which}"

    def _script(self) -> str:
        """Return the webhook's path ("": there is none); its first delivery is answered by plan."""
        kind, path = self.plan.webhook, self._path("first")
        if not kind:
            return ""
        receiver = self._world.sluggish if kind == "hanging" else self._world.receiver
        self._request.webhook_url = receiver.url_of(path)
        if kind == "refusing":
            receiver.answer(status=500, path=path)
        elif kind == "closing":
            receiver.answer(behaviour="close", path=path)
        elif kind == "hanging":
            receiver.answer(behaviour="hang", path=path)
        return path

    def _start(self, request: pb.StartDownloadRequest, path: str) -> pb.Job:
        answer: pb.StartDownloadResponse = self._client.call("StartDownload", request)
        job = answer.job
        self._ledger.see(job)
        start = AcknowledgedStart(
            job.job_id, job.process_number, request.request_id, path, answer.created
        )
        self._ledger.starts.append(start)
        return job

    def _join(self) -> None:
        path = self._path("second")
        joining = pb.StartDownloadRequest(
            process_number=self._request.process_number,
            webhook_url=self._world.receiver.url_of(path),
            max_age=Duration(),
        )
        self._start(joining, path)

    def _repeat(self) -> None:
        answer = self._client.call("StartDownload", self._request)
        if answer.job.job_id != self._job_id or answer.created:
            self._ledger.problems.append(
                f"the same request_id gave job {answer.job.job_id} after {self._job_id}"
            )

    def _cancel(self) -> None:
        self._ledger.cancels_requested.add(self._job_id)
        job = self._client.call("CancelJob", pb.CancelJobRequest(job_id=self._job_id)).job
        self._ledger.see(job)
        if job.state not in ENDED:
            self._ledger.problems.append(f"CancelJob left job {self._job_id} running")
        if job.state == pb.JOB_STATE_CANCELLED:
            self._ledger.cancelled.add(self._job_id)

    def _after_end(self) -> None:
        plan = self.plan
        if not (plan.is_retried or plan.is_redelivered or plan.is_run_again):
            return
        job = self._ended()
        if job is None:
            return
        if plan.is_retried:
            self._retry()
        elif plan.is_redelivered:
            self._redeliver(job)
        else:
            self._run_again()

    def _ended(self) -> pb.Job | None:
        """Return the job at its end, after its webhooks if the plan sends them again."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not self._stop.wait(LOOK_S):
            job = self._client.job(self._job_id)
            is_delivered = all(hook.state == pb.WEBHOOK_STATE_DELIVERED for hook in job.webhooks)
            if job.state in ENDED and (is_delivered or not self.plan.is_redelivered):
                return job
        return None

    def _retry(self) -> None:
        request = pb.RetryJobRequest(job_id=self._job_id, request_id=_another(self._job_id))
        try:
            answer = self._client.call("RetryJob", request)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return
        self._ledger.see(answer.job)
        self._ledger.retried(self._job_id)

    def _redeliver(self, job: pb.Job) -> None:
        ids = [hook.webhook_id for hook in job.webhooks]
        came = [each.webhook_id for each in self._world.receiver.deliveries]
        self._client.call("RedeliverWebhook", pb.RedeliverWebhookRequest(job_id=self._job_id))
        for each in ids:
            self._ledger.redeliveries.append(Redelivery(self._job_id, each, came.count(each)))

    def _run_again(self) -> None:
        path = self._path("again")
        again = pb.StartDownloadRequest(
            process_number=self._request.process_number,
            webhook_url=self._world.receiver.url_of(path),
            request_id=_another(self._request.request_id),
        )
        self._start(again, path)


def _another(uuid: str) -> str:
    """Return another UUID, always the same for the same input."""
    return str(uuid5(UUID(uuid), "chaos"))
