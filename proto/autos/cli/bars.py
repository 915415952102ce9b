"""Progress bars on a terminal, drawn by rich."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from autos._client.watching import JOB_ENDS
from autos.cli.wording import batches_line, ended_of, length, outlook, printable, size
from autos.downloads.v1 import downloads_pb2 as pb
from autos.pulled import PulledFile

RATE_OVER_S = 10.0
BAR_WIDTH = 30
FRAMES_PER_S = 5


class Meter:
    """Measures bytes per second over the last ten seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def note(self, total: int, now: float) -> None:
        """Record the total number of bytes. `now`: monotonic seconds."""
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_OVER_S:
            self._points.popleft()

    def per_s(self, now: float) -> float:
        """Return bytes per second; 0 without a measurement. `now`: monotonic seconds."""
        if not self._points:
            return 0.0
        (begun, first), (_, last) = self._points[0], self._points[-1]
        return max(0, last - first) / max(0.5, now - begun)


class _Bar:
    def __init__(self, *columns: ProgressColumn) -> None:
        console = Console(highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            BarColumn(BAR_WIDTH), *columns, console=console, refresh_per_second=FRAMES_PER_S
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


class JobBar(_Bar):
    """Shows documents, bytes, rate and remaining time of one job."""

    def __init__(self) -> None:
        self.job = pb.Job()
        self._meter = Meter()
        super().__init__(_Figures(self))
        self._task = self._progress.add_task("", total=None)

    def show(self, message: pb.WatchProgressResponse) -> None:
        """Show the current job."""
        if not message.HasField("job"):
            return
        self.job, progress = message.job, message.job.progress
        self._meter.note(progress.stored_bytes, time.monotonic())
        if progress.HasField("total_documents"):
            wanted = progress.total_documents - progress.skipped_documents
            done = wanted - progress.pending_documents
            total = max(1, wanted)
            self._progress.update(self._task, total=total, completed=done)

    def figures(self, task: Task) -> Text:
        """Return the text beside the bar."""
        progress = self.job.progress
        wanted = progress.total_documents - progress.skipped_documents
        total = wanted if progress.HasField("total_documents") else "?"
        text = Text(f"{progress.completed_documents}/{total}", "green")
        if progress.failed_documents:
            text.append(f" {progress.failed_documents} failed", "red")
        rate = size(self._meter.per_s(time.monotonic()))
        text.append(f"  {size(progress.stored_bytes)}  {rate}/s  ", "default")
        return text.append(self._outlook(task), "cyan")

    def _outlook(self, task: Task) -> str:
        text = printable(outlook(self.job, datetime.now(UTC)))
        if text or self.job.state in JOB_ENDS or task.time_remaining is None:
            return text or length(task.elapsed or 0)
        return f"{length(task.time_remaining)} left"


class _Figures(ProgressColumn):
    def __init__(self, bar: JobBar) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        return self._bar.figures(task)


class BatchBar(_Bar):
    """Shows the ended jobs of batches, with their documents and bytes."""

    def __init__(self) -> None:
        self.batches: Sequence[pb.Batch] = ()
        super().__init__(
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task = self._progress.add_task("", total=None, text="")

    def show(self, batches: Sequence[pb.Batch]) -> None:
        """Show the batches as they are now."""
        self.batches = batches
        ended, jobs = ended_of(batches)
        text = batches_line(batches)
        self._progress.update(self._task, total=max(1, jobs), completed=ended, text=text)


class PullBar(_Bar):
    """Shows files, bytes, rate and remaining time of a pull."""

    def __init__(self, total_bytes: int, files: int) -> None:
        super().__init__(
            TextColumn("{task.fields[files]} of {task.fields[of]} files", markup=False),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._lock = threading.Lock()
        self._files = 0
        self._task = self._progress.add_task("", total=total_bytes, files=0, of=files)

    def file(self, _: PulledFile) -> None:
        """Count one more file."""
        with self._lock:
            self._files += 1
            self._progress.update(self._task, files=self._files)

    def count(self, size_bytes: int) -> None:
        """Add to the number of fetched bytes."""
        self._progress.advance(self._task, size_bytes)
