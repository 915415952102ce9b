"""Drives the three flows, each several times, and opens a window for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dev.processes.deadline import until
from storage import sql
from tests.flows.call_recorder import CALLS_NAME, FROM_MARK, OPEN, UNTIL_MARK, Window
from tests.flows.flow_files import Flow, FlowFiles, files_of
from tests.system.job_calls import await_job, finish, start
from tests.system.running_autos import Autos

DEADLINE_S = 60.0
FIRST_BYTE = Flow(
    "StartDownload to the first byte of the first document",
    frozenset({"server", "scheduler", "worker"}),
    45,
)
TWO_FAILURES = Flow(
    "a document fails twice, then is stored (worker)", frozenset({"worker", "uploader"}), 32
)
WEBHOOK = Flow(
    "last document recorded to webhook delivered", frozenset({"worker", "uploader", "notifier"}), 20
)


class FlowRuns:
    """The flows on a running Autos whose processes record in `folder`."""

    def __init__(self, autos: Autos, folder: Path) -> None:
        self._autos = autos
        self._folder = folder
        self._window = Window(folder)
        self._count = 0

    def measure(self, times: int) -> list[FlowFiles]:
        """Run each flow once to warm up, then `times` with a window each."""
        return [
            self._files(flow, self._windows(run, times))
            for flow, run in (
                (FIRST_BYTE, self._first_byte),
                (TWO_FAILURES, self._two_failures),
                (WEBHOOK, self._webhook),
            )
        ]

    def _windows(self, run: Callable[[], None], times: int) -> Sequence[int]:
        run()
        before = self._count
        for _ in range(times):
            run()
        return range(before + 1, self._count + 1)

    def _files(self, flow: Flow, windows: Sequence[int]) -> FlowFiles:
        with (self._folder / CALLS_NAME).open() as lines:
            return files_of(
                flow,
                windows,
                lines,
                {path.stem: f"storage/sql/{path.relative_to(sql.FOLDER)}" for path in _sql_paths()},
                sql.called_functions,
            )

    def _open(self, kind: int) -> None:
        self._count += 1
        self._window.open(self._count, kind)

    def _first_byte(self) -> None:
        autos = self._autos
        number = autos.portal.add_case(documents=1)
        autos.portal.hold(number, after_bytes=1)
        self._open(OPEN)
        job_id = start(autos, number).job.job_id
        autos.portal.wait_held(number, timeout_s=DEADLINE_S)
        self._window.close()
        autos.portal.release(number)
        await_job(autos, job_id, lambda job: job.HasField("end_time"))

    def _two_failures(self) -> None:
        autos = self._autos
        number = autos.portal.add_case(documents=1, faults={0: "codex-500-then-good"})
        autos.portal.hold(number)
        job_id = start(autos, number).job.job_id
        autos.portal.wait_held(number, timeout_s=DEADLINE_S)
        self._open(UNTIL_MARK)
        autos.portal.release(number)
        finish(autos, job_id)
        self._window.close()

    def _webhook(self) -> None:
        autos = self._autos
        number = autos.portal.add_case(documents=1)
        path = f"/flow/{self._count}"
        delivered = self._count_of("webhook delivered")
        self._open(FROM_MARK)
        start(autos, number, webhook_url=autos.receiver.url_of(path))
        autos.receiver.wait_for(1, DEADLINE_S, path=path)
        until(lambda: self._count_of("webhook delivered") > delivered, DEADLINE_S, "not recorded")
        self._window.close()

    def _count_of(self, event: str) -> int:
        return sum(event in line for line in self._autos.lines)


def _sql_paths() -> list[Path]:
    return list(sql.FOLDER.rglob("*.sql"))
