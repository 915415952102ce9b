"""The progress of a job or a pull: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from autos.cli.output import write_line
from autos.cli.wording import batches_line, failure, line, shown, size
from autos.downloads.v1 import downloads_pb2 as pb
from autos.pulled import PulledFile

if TYPE_CHECKING:
    from autos.cli.bars import BatchBar, JobBar

PLAIN_EVERY_S = 5.0


class PullView(Protocol):
    """A display of a pull. Several threads call it."""

    def file(self, file: PulledFile, /) -> None:
        """Show a file that is complete."""

    def count(self, size_bytes: int) -> None:
        """Add to the number of fetched bytes."""


class Lines:
    """Prints plain lines: each failure at once, and the progress every five seconds."""

    def __init__(self) -> None:
        self._told_at = -PLAIN_EVERY_S
        self._state = -1

    def show(self, message: pb.WatchProgressResponse) -> None:
        """Print a failed document; print the job if its state changed or five seconds passed."""
        if message.HasField("document"):
            if message.document.state == pb.DOCUMENT_STATE_FAILED:
                _show(failure(message.document))
            return
        job, now = message.job, time.monotonic()
        if job.state != self._state or now - self._told_at >= PLAIN_EVERY_S:
            self._told_at, self._state = now, job.state
            _show(line(job))


class BatchLines:
    """Prints the progress of batches when it has changed, every five seconds at most."""

    def __init__(self) -> None:
        self._told_at = -PLAIN_EVERY_S
        self._told = ""
        self._last = ""

    def show(self, batches: Sequence[pb.Batch]) -> None:
        """Print a line if something has changed and five seconds have passed."""
        self._last, now = batches_line(batches), time.monotonic()
        if self._last != self._told and now - self._told_at >= PLAIN_EVERY_S:
            self._told_at = now
            self.close()

    def close(self) -> None:
        """Print the last line, if it has not been printed."""
        if self._last != self._told:
            self._told = self._last
            _show(self._last)


class PullLines:
    """Prints a line for each file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def file(self, file: PulledFile) -> None:
        """Print the path and size of a file."""
        what = size(file.document.size_bytes) if file.is_new else "was there"
        with self._lock:
            write_line(f"{file.path}  {what}")

    def count(self, size_bytes: int) -> None:
        """Print nothing for bytes."""


@contextmanager
def job_view() -> Iterator[Lines | JobBar]:
    """Yield the display of a job and close it when the context is left."""
    if not is_live():
        yield Lines()
        return
    from autos.cli.bars import JobBar  # a late import: only a terminal needs rich

    with JobBar() as bar:
        yield bar
    _show(line(bar.job))


@contextmanager
def batch_view() -> Iterator[BatchLines | BatchBar]:
    """Yield the display of batches and close it when the context is left."""
    if not is_live():
        lines = BatchLines()
        yield lines
        lines.close()
        return
    from autos.cli.bars import BatchBar

    with BatchBar() as bar:
        yield bar
    _show(batches_line(bar.batches))


@contextmanager
def pull_view(total_bytes: int, files: int) -> Iterator[PullView]:
    """Yield the display of a pull and close it when the context is left."""
    if not is_live():
        yield PullLines()
        return
    from autos.cli.bars import PullBar

    with PullBar(total_bytes, files) as bar:
        yield bar


def _show(text: str) -> None:
    write_line(shown(text))


def is_live() -> bool:
    """Return True if standard output is a terminal, on which lines can change."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
