"""Test the pages of the client: every example runs as printed, and the tables match the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from autos import AutosError
from autos.cli.exits import Exit
from autos.cli.options import parser
from dev.embedded.sandbox import ROOT
from tests.system.running_autos import Autos

DOCS = ROOT / "docs"
TEXT = (DOCS / "howto" / "call-python.md").read_text()
CLIENT = (DOCS / "reference" / "python-client.md").read_text()
CLI = (DOCS / "reference" / "cli.md").read_text()
README = (ROOT / "README.md").read_text()
TIMEOUT_S = 200


def _blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def _run(autos: Autos, folder: Path, *command: str) -> str:
    env = {
        **os.environ,
        "AUTOS_ADDRESS": autos.stack.env["GRPC_LISTEN"],
        "PYTHONPATH": str(ROOT / "proto"),
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_python_examples_run_as_printed(autos: Autos, tmp_path: Path) -> None:
    blocks = _blocks("python")
    assert len(blocks) == 5, "the page has changed: look here again"
    [first] = [b for b in _blocks("python", README) if "from autos" in b]

    output = _run(autos, tmp_path, sys.executable, "-c", "\n".join([first, *blocks]))

    assert "31 of 31\n" in output
    assert "31 files, 0 documents not available" in output
    assert "ended JOB_STATE_COMPLETED" in output
    assert "INVALID_REQUEST {'process_number': " in output
    [shown] = re.findall(r"prints `(Client\(.*?\))`", TEXT)
    assert shown in output
    assert "the-token" not in output
    assert len(list((tmp_path / "case").iterdir())) == 31


def test_the_commands_run_as_printed(autos: Autos, tmp_path: Path) -> None:
    blocks = _blocks("sh")
    assert len(blocks) == 4, "the page has changed: look here again"
    ours = f'autos() {{ "{sys.executable}" -m autos "$@"; }}\n'

    output = _run(autos, tmp_path, "bash", "-euo", "pipefail", "-c", ours + "\n".join(blocks))

    assert "COMPLETED  31 of 31 documents" in output
    assert '"url": "http' in output
    assert output.count(" SKIPPED ") == 31
    assert len(list((tmp_path / "case").iterdir())) == 31


def test_the_table_of_exit_codes_is_whole() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", CLI, re.M)
    codes = {int(code) for row in rows for code in row.split(",")}

    assert codes == set(Exit)
    assert {int(code) for code in re.findall(r"(?:^|\s{2,})(\d+) ", parser().epilog or "")} == {
        code for code in codes if code != Exit.BROKEN_PIPE
    }


def test_the_table_of_errors_is_whole() -> None:
    named = set(re.findall(r"^\| `([A-Z][a-z]\w+)` \|", CLIENT, re.M))

    assert named == {kind.__name__ for kind in AutosError.__subclasses__()}
