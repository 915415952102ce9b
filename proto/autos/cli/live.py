"""A job, or a pull, while it goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from autos._client.files.pulling import PulledFile
from autos.cli.wording import failure, line, shown, size
from autos.downloads.v1 import downloads_pb2 as pb

PLAIN_EVERY_S = 5.0
RATE_OVER_S = 10.0


class Meter:
    """Bytes per second over the last ten seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def note(self, total: int, now: float) -> None:
        """So many there are now."""
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_OVER_S:
            self._points.popleft()

    def per_s(self, now: float) -> float:
        """0 when nothing has come."""
        if not self._points:
            return 0.0
        (begun, first), (_, last) = self._points[0], self._points[-1]
        return max(0, last - first) / max(0.5, now - begun)


class View(Protocol):
    """Where a job is shown."""

    def show(self, message: pb.WatchProgressResponse) -> None:
        """A message of the watch."""


class PullView(Protocol):
    """Where a pull is shown; called from several threads."""

    def file(self, file: PulledFile, /) -> None:
        """A document is in its file."""

    def count(self, size_bytes: int) -> None:
        """So many bytes more."""


class Lines:
    """Plain lines: every failure, and how far it is every five seconds."""

    def __init__(self) -> None:
        self._told_at = -PLAIN_EVERY_S
        self._state = -1

    def show(self, message: pb.WatchProgressResponse) -> None:
        """Documents that failed; jobs, not all of them."""
        if message.HasField("document"):
            if message.document.state == pb.DOCUMENT_STATE_FAILED:
                _print(failure(message.document))
            return
        job, now = message.job, time.monotonic()
        if job.state != self._state or now - self._told_at >= PLAIN_EVERY_S:
            self._told_at, self._state = now, job.state
            _print(line(job))


class PullLines:
    """A line for each file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def file(self, file: PulledFile) -> None:
        """Its name and size."""
        what = size(file.document.size_bytes) if file.is_new else "was there"
        with self._lock:
            print(f"{file.path}  {what}", flush=True)

    def count(self, size_bytes: int) -> None:
        """Nothing is said of bytes."""


@contextmanager
def job_view() -> Iterator[View]:
    """For the length of the block."""
    if not is_live():
        yield Lines()
        return
    from autos.cli.bars import JobBar  # late: without a terminal nobody waits for rich

    with JobBar() as bar:
        yield bar
    _print(line(bar.job))


@contextmanager
def pull_view(total_bytes: int, files: int) -> Iterator[PullView]:
    """For the length of the block."""
    if not is_live():
        yield PullLines()
        return
    from autos.cli.bars import PullBar

    with PullBar(total_bytes, files) as bar:
        yield bar


def _print(text: str) -> None:
    print(shown(text), flush=True)


def is_live() -> bool:
    """Whether standard output is a terminal, where lines can change."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
