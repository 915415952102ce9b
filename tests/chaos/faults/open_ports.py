"""Read from the kernel which TCP ports a process has open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


def ports_of(pids: Iterable[int]) -> set[int]:
    """Return the local ports of the processes' TCP connections."""
    inodes = {inode for pid in pids for inode in _sockets_of(pid)}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [line.split() for line in lines]
    return {int(each[1].partition(":")[2], 16) for each in columns if each[9] in inodes}


def _sockets_of(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                kind, _, inode = str(file.readlink()).partition(":[")
                if kind == "socket":
                    found.append(inode.rstrip("]"))
    return found
