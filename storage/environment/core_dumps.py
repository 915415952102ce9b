"""Core dumps off: the memory of a process holds tokens, keys and documents."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

# Linux writes no memory of the process into a dump, also if a program receives the dump.
_FILTER = Path("/proc/self/coredump_filter")


def switch_off() -> None:
    """Write no core dumps of this process and of those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not Linux
        _FILTER.write_text("0")
