"""Log lines: one that cannot be written breaks nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dev.sandbox import ROOT

_PROGRAM = """
import structlog
from storage import logs
logs.configure({log_format!r}, process="worker")
structlog.get_logger().info("anything", job_id="7")
try:
    raise ValueError
except ValueError:
    structlog.get_logger().exception("anything else")
print("went on")
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_line_that_cannot_be_written_is_no_error(log_format: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(log_format=log_format)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
        check=False,
        timeout=60,
    )

    os.close(writing)
    assert done.stdout == "went on\n"
