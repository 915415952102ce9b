"""The memory of processes, from Linux itself, which knows the peak without being asked in time."""

from __future__ import annotations

import re
from pathlib import Path

MIB = 1024 * 1024


class PeakMemory:
    """How much more memory a process takes at its peak than when this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        self._before_bytes = self._bytes("VmRSS")

    def added_bytes(self) -> int:
        """The peak since then, less what it was."""
        return self._bytes("VmHWM") - self._before_bytes

    def _bytes(self, name: str) -> int:
        text = Path(f"/proc/{self._pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
        assert match, text
        return int(match[1]) * 1024
