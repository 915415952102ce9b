"""Execute a program that ends when its parent ends. dev/processes/process.py runs this script:

    python -I -S dev/processes/launch.py PARENT_PID DEATH_SIGNAL IDENTITY COMMAND...

IDENTITY is `same`; `mapped` (root becomes an ordinary user in a user namespace of its own, in
which root's files are that user's); or `nobody`. Linux only. It imports nothing but the standard
library, so its start takes only 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
MAPPED_ID = 1000
CANNOT_START = 127


def main(parent: int, death_signal: int, identity: str, *command: str) -> None:
    """Change the identity, request a signal at the parent's end, and execute `command`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if identity == "mapped":
        _map_root_to_user(libc)
    elif identity == "nobody":
        _become_nobody()
    # After the change of identity, because that change clears the death signal.
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(CANNOT_START)  # the parent ended before the line above
    os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose


def _map_root_to_user(libc: ctypes.CDLL) -> None:
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    proc = Path("/proc/self")
    (proc / "setgroups").write_text("deny")
    (proc / "uid_map").write_text(f"{MAPPED_ID} 0 1")
    (proc / "gid_map").write_text(f"{MAPPED_ID} 0 1")


def _become_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
    except OSError as error:
        print(f"{' '.join(sys.argv[4:5])} could not be started: {error}", file=sys.stderr)
        sys.exit(CANNOT_START)
