"""The position of a watch, for a new stream after a broken one. Pure: no I/O, no clock."""

from __future__ import annotations

from datetime import timedelta

from autos._client.calls import Call, duration, target_of
from autos.downloads.v1 import downloads_pb2 as pb

JOB_ENDS = frozenset(
    {
        pb.JOB_STATE_COMPLETED,
        pb.JOB_STATE_PARTIALLY_COMPLETED,
        pb.JOB_STATE_FAILED,
        pb.JOB_STATE_CANCELLED,
    }
)


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
