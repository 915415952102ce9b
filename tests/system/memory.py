"""Measure the peak memory of processes from Linux's own counters, without sampling."""

from __future__ import annotations

import re
from pathlib import Path

MIB = 1024 * 1024


class PeakMemory:
    """Measures the growth of a process's memory from its creation to the peak."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak
        self._before_bytes = self._bytes("VmRSS")

    def added_bytes(self) -> int:
        """Return the peak minus the memory at creation, in bytes."""
        return self._bytes("VmHWM") - self._before_bytes

    def _bytes(self, name: str) -> int:
        text = Path(f"/proc/{self._pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
        assert match, text
        return int(match[1]) * 1024
