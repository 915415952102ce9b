"""The Procfile: which processes there are, one a line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.processes.process import Program


def read_procfile(file: Path) -> dict[str, str]:
    """The commands of a Procfile by name, in its order."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {name.strip(): command.strip() for name, _, command in pairs}


def as_program(
    name: str,
    command: str | Sequence[str] | Program,
    env: Mapping[str, str],
    cwd: Path,
    grace_s: float = 10.0,
) -> Program:
    """The program of a Procfile's line. No shell reads it, so nothing stands between us and it."""
    if isinstance(command, Program):
        return command
    words = shlex.split(command) if isinstance(command, str) else command
    return Program(name=name, command=tuple(words), cwd=cwd, env=env, grace_s=grace_s)
