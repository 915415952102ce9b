"""`make client NAME=...`: a new token for a client of `make run`, and how to call with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dev.folder import owner_of
from dev.run_file import read_run_file
from dev.stack import CLIENTS_FILE
from server.access import add_client

USAGE = "Say who: make client NAME=billing (to take a token out: REMOVE=the beginning of its hash)."


def clients_file(environ: Mapping[str, str]) -> Path:
    """The file that `make run` uses: AUTOS_CLIENTS_FILE, else one in DATA_DIR."""
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    given = environ.get("AUTOS_CLIENTS_FILE", "").strip()
    return Path(given) if given else data_dir / CLIENTS_FILE


def main(environ: Mapping[str, str]) -> int:
    """The exit code: 0, or 1 with one sentence."""
    name, remove = environ.get("NAME", "").strip(), environ.get("REMOVE", "").strip()
    if not name:
        print(USAGE, file=sys.stderr)
        return 1
    file = clients_file(environ)
    is_first = not file.exists()
    options = ["--remove", remove] if remove else []
    exit_code = add_client.main([str(file), name, *options])
    if exit_code == 0 and not remove:
        print("\n".join(_next_steps(environ, name, is_first=is_first)))
    return exit_code


def _next_steps(environ: Mapping[str, str], name: str, *, is_first: bool) -> list[str]:
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    run_file = read_run_file(data_dir) if owner_of(data_dir) is not None else None
    address = run_file.address if run_file else "127.0.0.1:50051"
    flag = run_file.grpcurl_flag if run_file else "-plaintext"
    steps = [
        "Call with it, from a variable, so that it stands in no history:",
        "",
        "  read -rs AUTOS_TOKEN; export AUTOS_TOKEN",
        f"  .venv/bin/grpcurl {flag} -expand-headers"
        " -H 'authorization: Bearer ${AUTOS_TOKEN}'"
        f" {address} autos.downloads.v1.DownloadService/ListJobs",
        "",
        "To replace a token, make a second one in the same way, and when everybody has it:",
        f"  make client NAME={name} REMOVE=<the beginning of the old one's hash>",
    ]
    if is_first:
        steps += [
            "",
            "It is the first client: from its next start on, `make run` serves clients only.",
        ]
    return steps


if __name__ == "__main__":
    sys.exit(main(os.environ))
