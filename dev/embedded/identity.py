"""The user that PostgreSQL runs as, since it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dev.processes.process import LAUNCHER
from storage.errors import ConfigurationError


@dataclass(frozen=True)
class Identity:
    """An identity of launch.py, with the ids by which the kernel checks its access to files."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make this identity the owner of `path`."""
        if self.name == "nobody":
            os.chown(path, self.uid, self.gid)

    def closed_parent(self, path: Path) -> Path | None:
        """Return the first folder on the way to `path` (inclusive) that it may not enter."""
        return next((p for p in [*reversed(path.parents), path] if not self._may_enter(p)), None)

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def ordinary_identity(data_dir: Path, binaries: Path) -> Identity:
    """Return an identity that is not root and may enter both folders.

    Raises ConfigurationError if there is none.
    """
    if os.geteuid() != 0:
        return Identity("same", os.geteuid(), os.getegid())
    identity = Identity("mapped", 0, 0)
    if not _can_map():
        nobody = pwd.getpwnam("nobody")
        identity = Identity("nobody", nobody.pw_uid, nobody.pw_gid)
        # The subfolders have restrictive modes of their own.
        data_dir.chmod(data_dir.stat().st_mode | 0o011)
    for place in (data_dir, binaries):
        if closed := identity.closed_parent(place.resolve()):
            raise ConfigurationError(
                f"PostgreSQL does not run as root and without root's rights may not enter {closed} "
                f"on its way to {place}; run as another user or use a folder open to all."
            )
    return identity


def _can_map() -> bool:
    """Return True if the system allows a new user namespace; containers often do not."""
    death_signal = str(int(signal.SIGKILL))
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), death_signal]
    command = [*launcher, "mapped", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
