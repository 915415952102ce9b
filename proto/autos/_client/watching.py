"""A watch over all of its streams: messages to pass on, retries and deadline. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

from autos._client.calls import Call
from autos._client.patience import PatientWatch
from autos._client.resume import Resume
from autos.downloads.v1 import downloads_pb2 as pb

# The error of a stream that ends with OK before the job has ended.
CUT_SHORT = "The stream ended before the job did."
# The number of missing heartbeats after which a connection counts as dead.
SILENT_BEATS = 3
HEARTBEAT_S = 10.0
# The maximum seconds of one stream, after which the next one is opened. gRPC would treat a deadline
# too far in the future as one that has passed.
STREAM_MAX_S = 86_400.0


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(timeout_s, patience_s, clock)
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
