"""The progress of several jobs: a bar for each on a terminal, lines at intervals elsewhere."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence

from rich.filesize import decimal
from rich.progress import Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from autos import AutosError, Client, TookTooLong
from dev.demo.demo_cases import JOB_TIMEOUT_S, Case, News, watch
from dev.demo.demo_console import DemoConsole, DemoFailure

OTHER_COLUMNS_WIDTH = 66
BAR_WIDTH_MAX = 40
LINE_EVERY_S = 1.0


def follow(client: Client, cases: Sequence[Case], screen: DemoConsole) -> None:
    """Show the progress of the jobs of `cases` until all have ended.

    Raises DemoFailure or AutosError.
    """
    received: queue.SimpleQueue[tuple[Case, News]] = queue.SimpleQueue()
    for case in cases:
        watch(client, case, lambda of, news: received.put((of, news)))
    view = _Bars(cases, screen) if screen.is_live else _Lines(cases, screen)
    with view:
        while not all(case.is_ended for case in cases):
            case, news = received.get()
            if isinstance(news, TookTooLong):
                raise _late(case) from news
            if isinstance(news, AutosError):
                raise news
            case.take(news)
            view.show(case)


def _late(case: Case) -> DemoFailure:
    return DemoFailure(f"The job of {case.number} did not end within {JOB_TIMEOUT_S:.0f} s.")


class _Lines:
    """Prints at most one line per job and second if the job changed, and one at its end."""

    def __init__(self, cases: Sequence[Case], screen: DemoConsole) -> None:
        self._screen = screen
        self._begun = time.monotonic()
        self._shown = {case.number: ("", self._begun) for case in cases}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, case: Case) -> None:
        now = time.monotonic()
        text, at = self._shown[case.number]
        is_due = case.is_ended or now - at >= LINE_EVERY_S
        if is_due and text != (news := _summary(case)):
            self._shown[case.number] = (news, now)
            self._screen.line(f"  {case.number}  {news}, {now - self._begun:.1f} s")


def _summary(case: Case) -> str:
    progress = case.job.progress
    parts = [f"{progress.completed_documents} of {_total(case)} stored"]
    if waiting := case.waiting_for_retry:
        parts.append(f"{waiting} to try again")
    if progress.failed_documents:
        parts.append(f"{progress.failed_documents} failed")
    return ", ".join([*parts, decimal(progress.stored_bytes)])


def _total(case: Case) -> str:
    progress = case.job.progress
    return str(progress.total_documents) if progress.HasField("total_documents") else "?"


class _Bars:
    """Draws a bar per job. Green: stored; yellow: will be tried again; red: failed."""

    def __init__(self, cases: Sequence[Case], screen: DemoConsole) -> None:
        width = max(8, min(BAR_WIDTH_MAX, screen.console.width - OTHER_COLUMNS_WIDTH))
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            _StateBar(width, "━" if screen.is_utf8 else "-"),
            _Counts(),
            _Seconds(),
            console=screen.console,
        )
        self._tasks: dict[str, TaskID] = {
            case.number: self._progress.add_task(case.number, case=case) for case in cases
        }

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, case: Case) -> None:
        # The columns read the case object several times a second.
        if case.is_ended:
            self._progress.stop_task(self._tasks[case.number])


class _StateBar(ProgressColumn):
    def __init__(self, width: int, stroke: str) -> None:
        super().__init__()
        self._width = width
        self._stroke = stroke

    def render(self, task: Task) -> Text:
        case: Case = task.fields["case"]
        progress = case.job.progress
        total = max(1, progress.total_documents)
        bar, done, rendered = Text(), 0, 0
        for count, style in (
            (progress.completed_documents, "green"),
            (progress.failed_documents, "red"),
            (case.waiting_for_retry, "yellow"),
            (total, "bright_black"),
        ):
            done = min(total, done + count)
            end = done * self._width // total
            bar.append(self._stroke * (end - rendered), style)
            rendered = end
        return bar


class _Counts(ProgressColumn):
    def render(self, task: Task) -> Text:
        case: Case = task.fields["case"]
        progress = case.job.progress
        text = Text(f"{progress.completed_documents:>2}/{_total(case)}", "green")
        text.append(f" {decimal(progress.stored_bytes):>8}", "default")
        if progress.failed_documents:
            return text.append(f" {progress.failed_documents:>2} failed", "red")
        return text.append(
            f" {case.waiting_for_retry:>2} again " if case.waiting_for_retry else " " * 10, "yellow"
        )


class _Seconds(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0:4.1f} s", "cyan")
