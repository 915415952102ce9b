"""The log file of the demo's servers and processes. It keeps their output off the screen."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import IO

from dev.demo.demo_console import DemoConsole

END_LINES = 12


class DemoLog:
    """Writes a line at each call, from any thread. The first line truncates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stream: IO[str] | None = None
        self._end: deque[str] = deque(maxlen=END_LINES)

    def __call__(self, line: str) -> None:
        """Write a line and flush it."""
        with self._lock:
            if self._stream is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._stream = self.path.open("w", encoding="utf-8", buffering=1)
            self._stream.write(f"{line}\n")
            self._end.append(line)

    def show_end(self, screen: DemoConsole) -> None:
        """Print the last lines, which show why a start failed."""
        with self._lock:
            lines = list(self._end)
        for line in lines:
            screen.line(f"  {line}", "dim")
        if lines:
            screen.line(f"All of it is in {self.path}.")
