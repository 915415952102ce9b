"""`make run`: all of Autos on this machine, supervised until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from dev.folder import RunFile
from dev.processes.interrupts import raise_at_stop_signals
from dev.stack import running_stack
from storage.errors import ConfigurationError

SERVICE = "autos.downloads.v1.DownloadService"
SANDBOX_CASE = "1003579-22.2025.8.26.0564"


def main(environ: Mapping[str, str], release_flags: Sequence[str] = ()) -> int:
    """Serve. Return the exit code: 0 after a stop, 1 after one sentence if it cannot start."""
    raise_at_stop_signals(before=lambda: write_line("autos | stopping"))
    try:
        with running_stack(environ, write_line, release_flags=shlex.join(release_flags)) as stack:
            write_line(next_steps(stack.run_file))
            while True:
                # Short waits: a signal just before a wait does not interrupt that wait.
                time.sleep(0.2)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        write_line("autos | stopped")
    return 0


def write_line(line: str) -> None:
    """Print a line and flush it, also if stdout is not a terminal."""
    print(line, flush=True)


def next_steps(run_file: RunFile) -> str:
    """Return suggestions of what to try while it runs."""
    number = SANDBOX_CASE if run_file.is_sandbox else "NNNNNNN-DD.AAAA.J.TR.OOOO"
    case = f'{{"process_number": "{number}"}}'
    call = f"  .venv/bin/grpcurl {_flags(run_file)} -d '{case}' {run_file.address} {SERVICE}"
    portal = f"sandbox portal {run_file.portal_url}" if run_file.is_sandbox else "real portal"
    steps = [
        "",
        f"Autos serves on {run_file.address}, with the {portal}. Try:",
        "",
        *_token_first(run_file),
        *(f"{call}/{method}" for method in ("StartDownload", "GetStatus", "WatchProgress")),
        "",
        "  make demo    a case with progress, webhook and a document to open",
        "  make secret  the key of the webhook signatures",
        "  make client  NAME=... makes a client and shows its token",
        "  Ctrl-C       stops all of it; the data stays",
    ]
    return "\n".join(steps)


def _flags(run_file: RunFile) -> str:
    """Return grpcurl's flags for the connection and the client's token."""
    flags = run_file.grpcurl_flag
    if run_file.clients_file:
        flags += " -expand-headers -H 'authorization: Bearer ${AUTOS_TOKEN}'"
    return flags


def _token_first(run_file: RunFile) -> list[str]:
    if not run_file.clients_file:
        return []
    return [
        f"  read -rs AUTOS_TOKEN; export AUTOS_TOKEN   # of a client in {run_file.clients_file}",
    ]


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
