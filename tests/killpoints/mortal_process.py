"""Run a role that can kill itself on demand.

`python -m tests.killpoints.mortal_process ROLE FLAGS [as-shipped]` runs the real composition root
with wrapped kill points. Unless `as-shipped`, the waits that are not settings are short, and a
webhook's lease is as short as LEASE_S.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.killpoints.failpoints import hurry, install
from tests.killpoints.triggers import Triggers
from tests.system.role_process import run_role


def main(role: str, folder: str, *options: str) -> int:
    """Return the exit code of the role."""
    if "as-shipped" not in options:
        hurry(short_lease_s=float(os.environ["LEASE_S"]))
    install(role, Triggers(Path(folder)))
    return run_role(role)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
