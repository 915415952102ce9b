"""Test several schedulers: one leads, another takes over; without any, work continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from tests.system.job_calls import documents, finish, start
from tests.system.running_autos import Autos
from tests.system.running_processes import held_down, stopped

WAIT_S = 60.0
DOCUMENTS = 6


@dataclass(frozen=True)
class Scheduler:
    """A scheduler beside the Procfile's own, with its log."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        """Return True if its latest log line about leadership reports that it leads."""
        news = [line for line in self.lines if "scheduler leads" in line or "stands by" in line]
        return bool(news) and "scheduler leads" in news[-1]

    def read(self) -> None:
        """Record its log lines until the process ends."""
        assert self.process.stdout
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))


@contextmanager
def _scheduler(autos: Autos) -> Iterator[Scheduler]:
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", "scheduler"],
        env=dict(autos.stack.env),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    scheduler = Scheduler(process)
    reader = threading.Thread(target=scheduler.read, daemon=True)
    reader.start()
    try:
        yield scheduler
    finally:
        process.kill()
        process.wait()
        reader.join()


@pytest.fixture
def pair(hasty: Autos) -> Iterator[tuple[Scheduler, Scheduler]]:
    """Yield a leading and a standby scheduler in place of the Procfile's."""
    with ExitStack() as stack:
        stack.enter_context(held_down(hasty, "scheduler"))
        leading, standing_by = (stack.enter_context(_scheduler(hasty)) for _ in range(2))
        until(lambda: leading.leads or standing_by.leads, WAIT_S, "No scheduler leads.")
        if standing_by.leads:
            leading, standing_by = standing_by, leading
        until(
            lambda: any("scheduler running" in line for line in standing_by.lines),
            WAIT_S,
            "The second scheduler does not run.",
        )
        yield leading, standing_by


def _run_job(autos: Autos) -> None:
    """Run a job to its end; assert that the portal got no request twice."""
    number = autos.portal.add_case(documents=DOCUMENTS)
    ended = finish(autos, start(autos, number).job.job_id)
    assert ended.state == pb.JOB_STATE_COMPLETED
    assert all(document.attempt_count == 1 for document in documents(autos, ended))
    case = autos.portal.case(number)
    assert case
    assert [autos.portal.request_count(each.uuid) for each in case.documents] == [1] * DOCUMENTS


def test_a_leader_that_is_killed_is_followed(
    hasty: Autos, pair: tuple[Scheduler, Scheduler]
) -> None:
    leading, standing_by = pair
    begun = time.monotonic()

    leading.process.kill()
    _run_job(hasty)
    until(lambda: standing_by.leads, WAIT_S, "The standby does not lead.")

    print(f"the standby led after {time.monotonic() - begun:.1f} s at most")
    _run_job(hasty)


def test_a_leader_that_ends_is_followed(hasty: Autos, pair: tuple[Scheduler, Scheduler]) -> None:
    leading, standing_by = pair

    os.kill(leading.process.pid, signal.SIGTERM)
    assert leading.process.wait(WAIT_S) == 0
    until(lambda: standing_by.leads, WAIT_S, "The standby does not lead.")

    _run_job(hasty)


def test_a_leader_that_hangs_is_followed_and_does_no_harm_when_it_goes_on(
    hasty: Autos, pair: tuple[Scheduler, Scheduler]
) -> None:
    leading, standing_by = pair

    with stopped(leading.process.pid):
        until(lambda: standing_by.leads, WAIT_S, "The standby does not lead.")
        _run_job(hasty)

    until(lambda: not leading.leads, WAIT_S, "The first leads again.")
    _run_job(hasty)
    assert standing_by.leads
    assert not [line for line in leading.lines if '"level": "error"' in line]


def test_work_goes_on_without_a_scheduler(hasty: Autos) -> None:
    with held_down(hasty, "scheduler"):
        for _ in range(3):
            _run_job(hasty)
