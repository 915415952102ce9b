"""`make secret`: the key that signs the webhooks of `make run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dev.folder import secret_file


def main(environ: Mapping[str, str]) -> int:
    """Print the key. Return 0, or 1 after one sentence if there is none yet."""
    if environ.get("WEBHOOK_SECRET", "").strip():
        print(environ["WEBHOOK_SECRET"])
        return 0
    named = environ.get("WEBHOOK_SECRET_FILE", "").strip()
    if named:
        return _print_file(Path(named))
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    file = secret_file(data_dir, "webhook_secret")
    if not file.exists():
        print(
            f"There is no webhook secret in {data_dir} yet; `make run` makes it.", file=sys.stderr
        )
        return 1
    return _print_file(file)


def _print_file(file: Path) -> int:
    try:
        print(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        print(f"{file} cannot be read: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
