"""The file that takes what the demo's servers and processes say, instead of the screen."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import IO

from dev.demo.demo_console import DemoConsole

END_LINES = 12


class DemoLog:
    """Call it with a line, from any thread. The file is made anew with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stream: IO[str] | None = None
        self._end: deque[str] = deque(maxlen=END_LINES)

    def __call__(self, line: str) -> None:
        """Write it down at once."""
        with self._lock:
            if self._stream is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._stream = self.path.open("w", encoding="utf-8", buffering=1)
            self._stream.write(f"{line}\n")
            self._end.append(line)

    def show_end(self, screen: DemoConsole) -> None:
        """The last lines, for somebody who asks why it does not start."""
        with self._lock:
            lines = list(self._end)
        for line in lines:
            screen.line(f"  {line}", "dim")
        if lines:
            screen.line(f"All of it is in {self.path}.")
