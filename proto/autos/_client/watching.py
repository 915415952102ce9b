"""A watch over all of its streams: messages to pass on, retries and deadline. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable

from autos._client import calls
from autos._client.patience import Patience
from autos._client.resume import Resume
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import AutosError, TookTooLong

# The error of a stream that ends with OK before the job has ended.
CUT_SHORT = "The stream ended before the job did."
# The number of missing heartbeats after which a connection counts as dead.
SILENT_BEATS = 3
HEARTBEAT_S = 10.0
# The maximum seconds of one stream, after which the next one is opened. gRPC would treat a deadline
# too far in the future as one that has passed.
STREAM_MAX_S = 86_400.0


class Watching:
    """The state of Client.watch, with the same arguments."""

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
        """Return True if the ended job has been passed on."""
        return self._resume.is_over

    def stream(self) -> tuple[calls.Watch, float | None]:
        """Return the call of the next stream and its deadline in seconds. Raises TookTooLong."""
        self._heard = 0
        left_s = self._left_s()
        limit_s = None if left_s is None else min(left_s, STREAM_MAX_S)
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

    def pause_s(self, error: AutosError) -> float:
        """Return the seconds to wait before the next stream. Raises `error` to give up."""
        left_s = self._left_s()
        pause_s = self._patience.pause_s(error)
        return pause_s if left_s is None else min(pause_s, left_s)

    def _left_s(self) -> float | None:
        if self._until is None:
            return None
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise TookTooLong(
                f"The job did not end within {self._timeout_s:g} s. It continues; watch it again.",
                reason="TOOK_TOO_LONG",
            )
        return left_s
