"""The body of a listing: it is counted as it arrives, and large ones are decoded one at a time.

JSON of 64 MiB can become objects of several GiB. So the values are counted before anything is
decoded, and a process holds the objects of one large listing at a time. Other large listings wait
as files.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

from actors.case_file.case_limits import MOST_BYTES, MOST_VALUES, ListingTooLarge
from actors.resilience.exchange_deadline import Deadline
from storage.environment.disk_errors import disk_errors
from storage.errors import ServiceUnavailable, TransientError

# Above one of these, a listing is large.
LARGE_BYTES = 1024 * 1024
LARGE_VALUES = 25_000
LARGE_DOCUMENTS = 1_000
_POLL_S = 0.1


class ListingTurn:
    """The turn of one listing among the large ones of the process."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.is_taken = False

    def take(self, running: Deadline) -> None:
        """Wait for the turn, if the listing does not have it yet.

        Raises LeaseLost if the exchange was cut, ServiceUnavailable if its time is over.
        """
        while not self.is_taken:
            try:
                running.check()
            except TransientError as error:
                # The portal has answered, so this is neither its failure nor an attempt.
                raise ServiceUnavailable("Memory for a large listing") from error
            self.is_taken = self._lock.acquire(timeout=_POLL_S)


class ListingTurns:
    """The turns of a process: at most one large listing has its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[ListingTurn]:
        """Return a turn, which is not taken yet. Release it at the end of the block."""
        turn = ListingTurn(self._lock)
        try:
            yield turn
        finally:
            if turn.is_taken:
                self._lock.release()


class ListingBody:
    """A body that is being received. If it is large, it is in a file without a name in `folder`."""

    def __init__(self, folder: Path | None) -> None:
        where = str(folder) if folder else None
        self._file = SpooledTemporaryFile(LARGE_BYTES, dir=where)  # noqa: SIM115 - see close
        self._size_bytes = 0
        self.values_at_most = 1

    @property
    def is_large(self) -> bool:
        """Return whether the listing needs the turn of a large one."""
        return self._size_bytes > LARGE_BYTES or self.values_at_most > LARGE_VALUES

    def add(self, chunk: bytes) -> None:
        """Append a chunk. Raises ListingTooLarge, and ServiceUnavailable if the disk is full."""
        self._size_bytes += len(chunk)
        # Each value follows a comma or the beginning of its list or object, in every charset. So
        # there are at most so many; commas in texts count, too.
        self.values_at_most += chunk.count(b",") + chunk.count(b"[") + chunk.count(b"{")
        if self._size_bytes > MOST_BYTES:
            raise ListingTooLarge(f"{MOST_BYTES // 2**20} MiB")
        if self.values_at_most > MOST_VALUES:
            raise ListingTooLarge(f"{MOST_VALUES:,} values")
        with disk_errors():
            self._file.write(chunk)

    def read(self) -> bytes:
        """Return the whole body."""
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        """Delete the body."""
        self._file.close()
