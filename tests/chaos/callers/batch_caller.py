"""Start many jobs in one call, and again, and record what was acknowledged."""

from __future__ import annotations

import threading

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import AcknowledgedStart
from tests.chaos.callers.mixed_workload import BatchPlan
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.chaos_environment import ChaosEnvironment


class BatchCaller:
    """The caller of one batch, until `stop` is set."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        client: RetryingClient,
        plan: BatchPlan,
        stop: threading.Event,
    ) -> None:
        self.plan = plan
        self.at_s = plan.at_s
        self._ledger = environment.ledger
        self._client = client
        self._stop = stop
        self._request = pb.StartDownloadsRequest(
            request_id=str(plan.request_id),
            requests=[
                pb.StartDownloadRequest(
                    process_number=number,
                    webhook_url=environment.receiver.url_of(self._path(place)),
                )
                for place, number in enumerate(plan.numbers)
            ],
        )

    def live(self) -> None:
        """Follow the whole plan. Raises GivenUp, or grpc.RpcError for another error."""
        answer = self._start()
        for place, result in enumerate(answer.results):
            self._take(place, result)
        if self._stop.wait(self.plan.repeats_s):
            return
        again = self._start()
        if (again.batch_id, _jobs(again)) != (answer.batch_id, _jobs(answer)):
            self._problem("the same request_id returned other jobs")

    def _start(self) -> pb.StartDownloadsResponse:
        answer: pb.StartDownloadsResponse = self._client.call("StartDownloads", self._request)
        return answer

    def _take(self, place: int, result: pb.StartDownloadResult) -> None:
        if result.WhichOneof("result") != "response":
            self._problem(f"request {place} was refused: {result.error.reason}")
            return
        job = result.response.job
        if job.batch_id == "":
            self._problem(f"job {job.job_id} is of no batch")
        self._ledger.see(job)
        self._ledger.starts.append(
            AcknowledgedStart(
                job.job_id, self.plan.numbers[place], "", self._path(place), result.response.created
            )
        )
        self._ledger.batches.setdefault(job.batch_id, set()).add(job.job_id)

    def _path(self, place: int) -> str:
        return f"/batch/{self.plan.index}/{place}"

    def _problem(self, text: str) -> None:
        self._ledger.problems.append(f"batch {self.plan.index}: {text}")


def _jobs(answer: pb.StartDownloadsResponse) -> list[str]:
    return [result.response.job.job_id for result in answer.results]
