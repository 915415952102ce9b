"""`make demo`: the main job in one command, for somebody who sees Autos for the first time.

It starts everything (or uses the `make run` that is up), has two sandbox cases fetched, shows how
that goes, verifies the webhooks, lists what is stored and what failed, opens a document, and stops
what it started. Exit code 0; 1 with one sentence if something is not as it should be; 130 after
Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from dev.processes.interrupts import raise_at_stop_signals


def main(environ: Mapping[str, str]) -> int:
    """Show it; the exit code."""
    raise_at_stop_signals()
    try:
        # Its imports take a moment in which Ctrl-C shall already end us without a traceback.
        from dev.demo.demo_script import run_demo

        return run_demo(environ)
    except KeyboardInterrupt as stop:
        print("\nStopped before the end; nothing that the demo started is left.", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else 2)


if __name__ == "__main__":
    sys.exit(main(os.environ))
