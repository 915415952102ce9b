"""Test the completion scripts: bash runs its own, and each script has every command and option."""

from __future__ import annotations

import shlex
import subprocess
from importlib.metadata import version

import pytest

from autos.cli.commands import COMMANDS
from autos.cli.main import main
from autos.cli.shell_completion import SHELLS


def _script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["start", "status"]),
        (["--v"], ["--version"]),
        (["start", "--w"], ["--webhook-url", "--watch", "--wait"]),
        (["start", "--priority", ""], ["HIGH", "NORMAL", "BULK"]),
        (["documents", "--state", "AV"], ["AVAILABLE"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        # Files and job_ids are not words of the command.
        (["status", "3c"], []),
    ],
)
def test_bash_completes(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    typed = " ".join(map(shlex.quote, ["autos", *words]))
    program = f"""{_script("bash", capsys)}
COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _autos; echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(
        ["bash", "-uc", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_has_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = _script(shell, capsys)

    assert [name for name in COMMANDS if name not in script] == []
    assert "patience" in script


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"autos {version('autos')}\n"
