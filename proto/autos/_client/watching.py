"""A watch over all its streams: what to tell, when to begin again, when to give up. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

from autos._client import calls
from autos._client.patience import Patience
from autos._client.resume import Resume
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import AutosError, TookTooLong

# How a stream breaks that ends well, but before the job.
CUT_SHORT = "The stream ended before the job did."
# Heartbeats that may fail to come before the connection counts as dead.
SILENT_BEATS = 3
HEARTBEAT_S = 10.0
# Of one stream: gRPC takes a deadline too far ahead for one that has passed. Then another begins.
STREAM_MAX_S = 86_400.0


class Watching:
    """See Client.watch, whose arguments these are."""

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
        self._resume = Resume(target, after_revision)
        self._patience = Patience(patience_s, clock=clock)
        self._clock = clock
        self._until = None if timeout_s is None else clock() + timeout_s
        self._timeout_s = timeout_s
        self._heartbeat_s = heartbeat_s
        self._heard = 0
        self.silence_s = SILENT_BEATS * heartbeat_s

    @property
    def is_over(self) -> bool:
        """Whether the end of the job has been told."""
        return self._resume.is_over

    def stream(self) -> tuple[calls.Watch, float | None]:
        """The call that goes on, and the seconds that it may last. Raises TookTooLong."""
        self._heard = 0
        left_s = self._left_s()
        limit_s = None if left_s is None else min(left_s, STREAM_MAX_S)
        return self._resume.request(self._heartbeat_s), limit_s

    def take(self, message: pb.WatchProgressResponse) -> bool:
        """Whether to tell the caller."""
        self._heard += 1
        # A server that ends after its first message each time must not be called in a hurry.
        if self._heard > 1:
            self._patience.progressed()
        else:
            self._patience.heard()
        return self._resume.take(message)

    def pause_s(self, error: AutosError) -> float:
        """How long to wait for the next stream. Raises `error` if there should be none."""
        left_s = self._left_s()
        pause_s = self._patience.pause_s(error)
        return pause_s if left_s is None else min(pause_s, left_s)

    def _left_s(self) -> float | None:
        if self._until is None:
            return None
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise TookTooLong(
                f"The job has not ended within {self._timeout_s:g} s. It goes on; watch it again.",
                reason="TOOK_TOO_LONG",
            )
        return left_s
