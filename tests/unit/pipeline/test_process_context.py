"""Test that a process that cannot build its dependencies ends."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from structlog.testing import capture_logs

from actors.tasks import Dependencies, Runtime


def test_a_process_that_cannot_work_ends_instead_of_failing_each_message() -> None:
    def fail() -> Dependencies:
        raise RuntimeError("no part of it can be built")

    broker: dramatiq.Broker = StubBroker(middleware=[Runtime(fail)])

    with capture_logs() as lines, pytest.raises(SystemExit) as ended:
        broker.emit_after("process_boot")

    assert ended.value.code == 1
    assert [line["log_level"] for line in lines] == ["error"]
