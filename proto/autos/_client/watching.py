"""Watches of a job and of batches: what to request and pass on, retries, deadline. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from autos._client.calls import Call, duration, target_of
from autos._client.patience import ATTEMPT_S, PatientWatch
from autos.downloads.v1 import downloads_pb2 as pb

JOB_ENDS = frozenset(
    {
        pb.JOB_STATE_COMPLETED,
        pb.JOB_STATE_PARTIALLY_COMPLETED,
        pb.JOB_STATE_FAILED,
        pb.JOB_STATE_CANCELLED,
    }
)

# The error of a stream that ends with OK before the job has ended.
CUT_SHORT = "The stream ended before the job did."
# The number of missing heartbeats after which a connection counts as dead.
SILENT_BEATS = 3
HEARTBEAT_S = 10.0
# The maximum seconds of one stream, after which the next one is opened. gRPC would treat a deadline
# too far in the future as one that has passed.
STREAM_MAX_S = 86_400.0
# Seconds between two readings of the batches.
EVERY_S = 2.0


class Resume:
    """One watch over any number of streams.

    It passes on documents and jobs with growing revisions only, and the ended job once, as the last
    message. After that `is_over` is True.
    """

    def __init__(self, target: str, after_revision: int = 0) -> None:
        self.is_over = False
        self._target = target
        self._revision = after_revision
        self._serialized_job = -1
        self._is_opening = True

    def request(self, heartbeat_s: float) -> Call[pb.WatchProgressResponse]:
        """Return the call that opens the next stream."""
        self._is_opening = True
        request = pb.WatchProgressRequest(
            **target_of(self._target),
            after_revision=self._revision,
            heartbeat_interval=duration(timedelta(seconds=heartbeat_s)),
        )
        return Call(request, pb.WatchProgressResponse)

    def take(self, message: pb.WatchProgressResponse) -> bool:
        """Return True if the caller has not received the content of `message` yet."""
        is_opening, self._is_opening = self._is_opening, False
        if message.HasField("job"):
            is_news = self._takes_job(message.job, is_opening)
        else:
            is_news = message.HasField("document") and message.revision > self._revision
        # The first job carries the caller's own revision: its documents are not sent yet.
        self._revision = max(self._revision, message.revision)
        return is_news

    def _takes_job(self, job: pb.Job, is_opening: bool) -> bool:
        # Use the job_id from now on: after_revision needs it, and the case may get a newer job.
        self._target = job.job_id
        if job.state in JOB_ENDS:
            # As the first message it is only the current state; it is sent again as the last.
            self.is_over = not is_opening
            return self.is_over
        is_news = job.revision > self._serialized_job
        self._serialized_job = max(self._serialized_job, job.revision)
        return is_news


class Watching(PatientWatch):
    """The state of Client.watch, with the same arguments."""

    TOO_LATE = "The job did not end within {:g} s. It continues; watch it again."

    def __init__(
        self,
        target: str,
        *,
        after_revision: int,
        timeout_s: float | None,
        patience_s: float | None,
        heartbeat_s: float,
    ) -> None:
        super().__init__(timeout_s, patience_s, time.monotonic)
        self._resume = Resume(target, after_revision)
        self._heartbeat_s = heartbeat_s
        self._heard = 0
        self.silence_s = SILENT_BEATS * heartbeat_s

    @property
    def is_over(self) -> bool:
        """Return True if the ended job has been passed on."""
        return self._resume.is_over

    def stream(self) -> tuple[Call[pb.WatchProgressResponse], float | None]:
        """Return the call of the next stream and its deadline in seconds. Raises TookTooLong."""
        self._heard = 0
        limit_s = None if self._until is None else self._within(STREAM_MAX_S)
        return self._resume.request(self._heartbeat_s), limit_s

    def take(self, message: pb.WatchProgressResponse) -> bool:
        """Return True if the caller should get `message`."""
        self._heard += 1
        # If a server ends each stream after the first message, the pauses must still grow.
        if self._heard > 1:
            self._patience.progressed()
        else:
            self._patience.heard()
        return self._resume.take(message)


class BatchWatching(PatientWatch):
    """The state of Client.watch_batches, with the same arguments."""

    TOO_LATE = "The jobs did not end within {:g} s. They continue."

    def __init__(
        self,
        batch_ids: Iterable[str],
        *,
        timeout_s: float | None,
        patience_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(timeout_s, patience_s, clock)
        self._batches: dict[str, pb.Batch | None] = dict.fromkeys(batch_ids)

    @property
    def running(self) -> list[str]:
        """Return the batches that have not ended, as far as is known."""
        return [i for i, batch in self._batches.items() if batch is None or not is_ended(batch)]

    @property
    def batches(self) -> list[pb.Batch]:
        """Return the batches that were read, each as it was then."""
        return [batch for batch in self._batches.values() if batch is not None]

    def attempt(self, batch_id: str) -> tuple[Call[pb.GetBatchResponse], float]:
        """Return the call that reads a batch, and its deadline in seconds. Raises TookTooLong."""
        call = Call(pb.GetBatchRequest(batch_id=batch_id), pb.GetBatchResponse)
        return call, self._within(ATTEMPT_S)

    def take(self, batch: pb.Batch) -> None:
        """Keep a batch that was read."""
        self._patience.progressed()
        self._batches[batch.batch_id] = batch

    def rest_s(self) -> float:
        """Return the seconds until the next reading. Raises TookTooLong."""
        return self._within(EVERY_S)


def is_ended(batch: pb.Batch) -> bool:
    """Return True if every job of a batch has ended."""
    return all(each.state in JOB_ENDS for each in batch.jobs)
