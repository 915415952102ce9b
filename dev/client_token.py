"""`make client NAME=...`: add a token for a client of `make run` and show how to use it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dev.folder import owner_of, read_run_file
from dev.stack import CLIENTS_FILE
from server.access import add_client

USAGE = (
    "Give a name: make client NAME=billing (another webhook secret: SECRET=new; to remove a token"
    " or secret: REMOVE=<beginning of its hash>)."
)


def clients_file(environ: Mapping[str, str]) -> Path:
    """Return the clients file that `make run` uses: AUTOS_CLIENTS_FILE, else one in DATA_DIR."""
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    given = environ.get("AUTOS_CLIENTS_FILE", "").strip()
    return Path(given) if given else data_dir / CLIENTS_FILE


def main(environ: Mapping[str, str]) -> int:
    """Return the exit code: 0, or 1 after one sentence on stderr."""
    name, remove = environ.get("NAME", "").strip(), environ.get("REMOVE", "").strip()
    if not name:
        print(USAGE, file=sys.stderr)
        return 1
    file = clients_file(environ)
    is_first = not file.exists()
    options = ["--remove", remove] if remove else []
    if environ.get("SECRET", "").strip():
        options = ["--webhook-secret"]
    exit_code = add_client.main([str(file), name, *options])
    if exit_code == 0 and not options:
        print("\n".join(_next_steps(environ, name, is_first=is_first)))
    return exit_code


def _next_steps(environ: Mapping[str, str], name: str, *, is_first: bool) -> list[str]:
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    run_file = read_run_file(data_dir) if owner_of(data_dir) is not None else None
    address = run_file.address if run_file else "127.0.0.1:50051"
    flag = run_file.grpcurl_flag if run_file else "-plaintext"
    steps = [
        "Pass it in a variable, so that no shell history contains it:",
        "",
        "  read -rs AUTOS_TOKEN; export AUTOS_TOKEN",
        f"  .venv/bin/grpcurl {flag} -expand-headers"
        " -H 'authorization: Bearer ${AUTOS_TOKEN}'"
        f" {address} autos.downloads.v1.DownloadService/ListJobs",
        "",
        "To replace a token, make a second one in the same way. When all callers use it, run:",
        f"  make client NAME={name} REMOVE=<the beginning of the old one's hash>",
    ]
    if is_first:
        steps += [
            "",
            "This is the first client. After its next start, `make run` serves known clients only.",
        ]
    return steps


if __name__ == "__main__":
    sys.exit(main(os.environ))
