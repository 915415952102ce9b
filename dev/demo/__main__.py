"""`make demo`: the main use of Autos in one command, for a new user.

It starts everything (or uses the running `make run`), starts the jobs of two sandbox cases, shows
their progress, verifies the webhooks, lists the stored and the failed documents, opens a document,
and stops all processes that it started. Exit code 0; 1 after one sentence if a check fails; 130
after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from dev.processes.interrupts import raise_at_stop_signals


def main(environ: Mapping[str, str]) -> int:
    """Run the demo. Return the exit code."""
    raise_at_stop_signals()
    try:
        # The imports take time. They stand here so that Ctrl-C during them prints no traceback.
        from dev.demo.demo_script import run_demo

        return run_demo(environ)
    except KeyboardInterrupt as stop:
        print("\nStopped before the end; nothing that the demo started is left.", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else 2)


if __name__ == "__main__":
    sys.exit(main(os.environ))
