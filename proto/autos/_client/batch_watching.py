"""A watch of batches: which to read next, retries and deadline. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from autos._client import calls
from autos._client.patience import ATTEMPT_S, Patience
from autos._client.resume import JOB_ENDS
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import AutosError, TookTooLong

EVERY_S = 2.0


class BatchWatching:
    """The state of Client.watch_batches, with the same arguments."""

    def __init__(
        self,
        batch_ids: Iterable[str],
        *,
        timeout_s: float | None,
        patience_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batches: dict[str, pb.Batch | None] = dict.fromkeys(batch_ids)
        self._patience = Patience(patience_s, clock=clock)
        self._clock = clock
        self._until = None if timeout_s is None else clock() + timeout_s
        self._timeout_s = timeout_s

    @property
    def running(self) -> list[str]:
        """Return the batches that have not ended, as far as is known."""
        return [i for i, batch in self._batches.items() if batch is None or not is_ended(batch)]

    @property
    def batches(self) -> list[pb.Batch]:
        """Return the batches that were read, each as it was then."""
        return [batch for batch in self._batches.values() if batch is not None]

    def attempt(self, batch_id: str) -> tuple[calls.Call[pb.GetBatchResponse], float]:
        """Return the call that reads a batch, and its deadline in seconds. Raises TookTooLong."""
        left_s = self._left_s()
        return calls.batch(batch_id), ATTEMPT_S if left_s is None else min(left_s, ATTEMPT_S)

    def take(self, batch: pb.Batch) -> None:
        """Keep a batch that was read."""
        self._patience.progressed()
        self._batches[batch.batch_id] = batch

    def rest_s(self) -> float:
        """Return the seconds until the next reading. Raises TookTooLong."""
        left_s = self._left_s()
        return EVERY_S if left_s is None else min(EVERY_S, left_s)

    def pause_s(self, error: AutosError) -> float:
        """Return the seconds to wait before the next attempt. Raises `error` to give up."""
        left_s = self._left_s()
        pause_s = self._patience.pause_s(error)
        return pause_s if left_s is None else min(pause_s, left_s)

    def _left_s(self) -> float | None:
        if self._until is None:
            return None
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise TookTooLong(
                f"The jobs did not end within {self._timeout_s:g} s. They continue.",
                reason="TOOK_TOO_LONG",
            )
        return left_s


def is_ended(batch: pb.Batch) -> bool:
    """Return True if every job of a batch has ended."""
    return all(each.state in JOB_ENDS for each in batch.jobs)
