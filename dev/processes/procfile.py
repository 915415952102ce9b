"""The Procfile: one process type on each line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.processes.process import Program


def read_procfile(file: Path) -> dict[str, str]:
    """Return the commands of a Procfile by name, in its order."""
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
    """Return the program of a Procfile's line. It runs without a shell, so signals reach it."""
    if isinstance(command, Program):
        return command
    words = shlex.split(command) if isinstance(command, str) else command
    return Program(name=name, command=tuple(words), cwd=cwd, env=env, grace_s=grace_s)
