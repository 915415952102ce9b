"""Test `make demo` in a fresh folder without a terminal, as CI runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.embedded.sandbox import ROOT

DEADLINE_S = 200.0


@pytest.mark.timeout(240)
def test_demo_shows_the_main_job_and_leaves_nothing_running(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    # FORCE_COLOR forces colours: without a terminal there are none, whatever TERM contains.
    env = {**os.environ, "DATA_DIR": str(data_dir), "FORCE_COLOR": "1"}

    demo = subprocess.run(
        [sys.executable, "-m", "dev.demo"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )

    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    for shown in (
        "40 of 40 stored",
        "8 of 43 stored, 35 failed",
        "Webhook  download.completed",
        "Webhook  download.partially_completed",
        "signature verified; webhook-id msg_",
        "Stored   40 of 40 documents",
        "Stored   8 of 43 documents",
        "Failed   35 documents, PORTAL_ERROR",
        "its SHA-256 is the one on record",
        "nothing is left running",
        "make run",
    ):
        assert shown in demo.stdout
    assert "X-Amz-Signature" not in demo.stdout
    assert all(c == "\n" or c.isprintable() for c in demo.stdout)
    assert processes_that_name(data_dir) == []


def processes_that_name(path: Path) -> list[str]:
    """Return the command lines of processes that have `path` in command line or environment."""
    wanted = os.fsencode(path)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / n).read_bytes() for n in ("cmdline", "environ"))
        except OSError:  # The process has ended or belongs to another user.
            continue
        if wanted in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found
