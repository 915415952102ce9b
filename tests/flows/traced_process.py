"""`python -m tests.flows.traced_process ROLE FOLDER`: a role whose calls are recorded."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.flows.call_recorder import CallRecorder
from tests.system.role_process import run_role


def main(role: str, folder: str) -> int:
    """The exit code of the role."""
    CallRecorder(Path(folder), role).install()
    return run_role(role)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
