"""Test log lines: a line that cannot be written causes no other failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from dev.embedded.sandbox import ROOT
from storage import logs

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


_TOGETHER = """
import io, os, sys, threading
import structlog
from storage import logs

class Counted(io.TextIOBase):
    def write(self, text):
        print("write", len(text.encode()), text.count("\\n"), text.endswith("\\n"))
        os.write(2, text.encode())
        return len(text)

sys.stderr = Counted()
logs.configure("json", process="server")
log = structlog.get_logger()
try:
    with logs.together():
        for place in range({lines}):
            with logs.together():
                log.info("\u00e7", place=place)
        other = threading.Thread(target=log.info, args=("of another thread",))
        other.start()
        other.join()
        print("all told")
        raise KeyError
except KeyError:
    log.info("alone")
"""


@pytest.mark.parametrize("lines", [0, 1, 3, 100])
def test_lines_of_a_block_are_written_together_when_it_ends(lines: int) -> None:
    program = _TOGETHER.format(lines=lines)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    written = [json.loads(line) for line in done.stderr.splitlines()]
    events = ["of another thread", *["\u00e7"] * lines, "alone"]
    assert [each["event"] for each in written] == events
    assert [each["place"] for each in written if "place" in each] == list(range(lines))
    first, last, *rest = done.stdout.splitlines()
    # The other thread does not wait, and an exception in the block loses no line.
    assert (first.split()[0], last) == ("write", "all told")
    sizes = [int(each.split()[1]) for each in rest]
    assert all(each.endswith("True") for each in rest)
    assert all(size <= logs.PIECE_BYTES for size in sizes)
    # The minimum number of writes: no two successive blocks would fit into one.
    blocks = sizes[:-1]
    assert all(a + b > logs.PIECE_BYTES for a, b in pairwise(blocks))
    assert bool(blocks) == bool(lines)
