"""`python -m server.access.add_client FILE NAME`: add a token for a client and show it once.

If the file has no client of that name, the command adds one. Otherwise the client gets a further
token, and the old one can be removed once it is no longer used: `--remove` with the beginning of
its hash. A running server reads the file again within two seconds.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.clients.client_registry import ClientLimits
from storage.clients.clients_file import NAME, read
from storage.errors import ConfigurationError

# A leaked token is recognised by this prefix, for example by secret scanners.
PREFIX = "autos_"
SHOWN = 12
# Placeholder limits: this command only checks the file.
ANY = ClientLimits(1, 1, 1)


def add_token(path: Path, name: str, token: str | None = None) -> str:
    """Add `token` to the client `name` and return it; generate one if it is None.

    Raises ConfigurationError if the name or the file's content is invalid.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError("NAME must be 1 to 63 of a-z, 0-9 and inner hyphens.")
    token = token or PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    with _edited(path) as clients:
        found = next((each for each in clients if each["name"] == name), None)
        if found is None:
            found = {"name": name}
            clients.append(found)
        tokens = found.setdefault("tokens", [])
        if digest not in [each["sha256"] for each in tokens]:
            tokens.append({"sha256": digest, "created": datetime.now(UTC).date().isoformat()})
    return token


def remove_token(path: Path, name: str, beginning: str) -> None:
    """Remove the one token of `name` that has a hash starting with `beginning`.

    Raises ConfigurationError if no token or several tokens match.
    """
    with _edited(path) as clients:
        tokens: list[dict[str, str]] = next(
            (each.get("tokens", []) for each in clients if each["name"] == name), []
        )
        found = [each for each in tokens if beginning and each["sha256"].startswith(beginning)]
        if len(found) != 1:
            raise ConfigurationError(
                f"{name} has {len(found) or 'no'} tokens whose SHA-256 begins so; see its list."
            )
        tokens.remove(found[0])


def tokens_of(path: Path, name: str) -> list[str]:
    """Return a line for each token of `name`: the beginning of its hash and its creation date."""
    return [
        f"{token['sha256'][:SHOWN]}  since {token.get('created', 'an unknown day')}"
        for client in _entries(path)
        if client["name"] == name
        for token in client.get("tokens", [])
    ]


@contextmanager
def _edited(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the entries of the file for changes, then replace the file. Locks out other editors."""
    # If the path is a symbolic link, the target is replaced, not the link.
    path = path.resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(f"{path.parent} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = _entries(path)
        yield entries
        _write(path, json.dumps({"clients": entries}, indent=2) + "\n")
    finally:
        os.close(folder)


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    read(path, ANY)
    entries: list[dict[str, Any]] = json.loads(path.read_text())["clients"]
    return entries


def _write(path: Path, text: str) -> None:
    # The new file keeps the old mode: the server may run as another user and must still read it.
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error


def main(arguments: list[str]) -> int:
    """Run the command. Return the exit code: 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m server.access.add_client", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("--remove", metavar="SHA256", help="the beginning of a token's hash")
    given = parser.parse_args(arguments)
    try:
        if given.remove is not None:
            remove_token(given.file, given.name, given.remove)
            lines = []
        else:
            token = add_token(given.file, given.name)
            lines = [
                "",
                f"A token for client {given.name}, shown once and kept nowhere:",
                "",
                token,
            ]
        lines += ["", *_token_list(given.file, given.name), ""]
    except ConfigurationError as error:
        print(f"autos: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    print("\n".join(lines))  # noqa: T201 - for the operator
    return 0


def _token_list(path: Path, name: str) -> list[str]:
    tokens = tokens_of(path, name)
    if not tokens:
        return [f"Client {name} has no token now; {path} keeps its name and its limits."]
    return [f"Tokens of {name} in {path}, by the beginning of their SHA-256:", *tokens]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
