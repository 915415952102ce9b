"""A watch of batches: which to read next, retries and deadline. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from autos._client.calls import Call
from autos._client.patience import ATTEMPT_S, PatientWatch
from autos._client.resume import JOB_ENDS
from autos.downloads.v1 import downloads_pb2 as pb

EVERY_S = 2.0


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
