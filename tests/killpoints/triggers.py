"""Flags for kills: a file for each point and case, which the first process there removes."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.sandbox.court_cases.cnj import digits

DEATHS = "deaths"


@dataclass(frozen=True)
class Death:
    """A process that killed itself. `time` is in seconds since 1970."""

    time: float
    role: str
    point: str
    number: str


class Triggers:
    """A folder of flags, shared by a test and the processes that it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def arm(self, point: str, number: str) -> None:
        """Make the next process that reaches `point` with this case kill itself there."""
        self._flag(point, number).touch()

    def is_armed(self, point: str, number: str) -> bool:
        """Return True until a process has died there."""
        return self._flag(point, number).exists()

    def deaths(self) -> list[Death]:
        """Return the kills so far, in their order."""
        log = self.folder / DEATHS
        lines = log.read_text().splitlines() if log.exists() else []
        return [Death(**json.loads(line)) for line in lines]

    def strike(self, role: str, point: str, number: str) -> None:
        """Send SIGKILL to this process if its flag exists: once, even if other processes pass."""
        try:
            self._flag(point, number).unlink()
        except FileNotFoundError:
            return
        self._die(Death(time.time(), role, point, digits(number)))

    def _die(self, death: Death) -> NoReturn:
        line = json.dumps(death.__dict__) + "\n"
        log = os.open(self.folder / DEATHS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(log, line.encode())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def _flag(self, point: str, number: str) -> Path:
        return self.folder / f"{point}.{digits(number)}"
