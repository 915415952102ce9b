"""`python -m server.access.add_client FILE NAME`: add a token for a client and show it once.

If the file has no client of that name, the command adds one, with its own webhook secret unless it
is the first client. Otherwise the client gets a further token, or with `--webhook-secret` a further
secret, and the old one can be removed once it is no longer used: `--remove` with the beginning of
its hash. A running server reads the file again within two seconds.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.clients.client_registry import ClientLimits
from storage.clients.clients_file import NAME, read
from storage.errors import ConfigurationError

# A leaked token is recognised by this prefix, for example by secret scanners.
PREFIX = "autos_"
SHOWN = 12
SEVERAL = (
    "There are several clients: a client gets sealed cases only if its entry has",
    '"sealed": "fetch", and WEBHOOK_SECRET signs only for the one client without its own secret.',
)
# Placeholder limits: this command only checks the file.
ANY = ClientLimits(*[1] * 5)


def new_webhook_secret() -> str:
    """Return a new secret in the format of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class NewCredentials:
    """A client's new token, and its new webhook secret if it got one. Both are shown once."""

    token: str
    webhook_secret: str | None


def add_token(path: Path, name: str, token: str | None = None) -> NewCredentials:
    """Add `token` to the client `name`; generate one if it is None. A new client that is not the
    first also gets a webhook secret.

    Raises ConfigurationError if the name or the file's content is invalid.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError("NAME must be 1 to 63 of a-z, 0-9 and inner hyphens.")
    token = token or PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    with _edited(path) as clients:
        found = next((each for each in clients if each["name"] == name), None)
        secret = None
        if found is None:
            found = {"name": name}
            if clients:
                # A shared WEBHOOK_SECRET would let each client forge the events of the other.
                secret = new_webhook_secret()
                _keep_secret(path, found, secret)
            clients.append(found)
        tokens = found.setdefault("tokens", [])
        if digest not in [each["sha256"] for each in tokens]:
            tokens.append({"sha256": digest, "created": datetime.now(UTC).date().isoformat()})
    return NewCredentials(token, secret)


def add_webhook_secret(path: Path, name: str) -> str:
    """Add a webhook secret to the client `name`, beside those it has, and return it.

    Raises ConfigurationError.
    """
    secret = new_webhook_secret()
    with _edited(path) as clients:
        found = next((each for each in clients if each["name"] == name), None)
        if found is None:
            raise ConfigurationError(f"There is no client {name} in {path}.")
        _keep_secret(path, found, secret)
    return secret


def _keep_secret(path: Path, client: dict[str, Any], secret: str) -> None:
    """Add a secret to an entry of the file, which keeps it as it is, unlike a token."""
    if path.exists() and path.stat().st_mode & 0o004:
        raise ConfigurationError(
            f"Every user of this machine may read {path}, and a webhook secret stands in it as it"
            f" is: chmod o= {path} first."
        )
    client.setdefault("webhook_secrets", []).append(secret)


def remove(path: Path, name: str, beginning: str) -> None:
    """Remove the one token or webhook secret of `name` that has a hash starting with `beginning`.

    Raises ConfigurationError if none or several match.
    """
    with _edited(path) as clients:
        client = next((each for each in clients if each["name"] == name), {})
        found = [
            (kind, each)
            for kind in ("tokens", "webhook_secrets")
            for each in client.get(kind, [])
            if beginning and _hash(each).startswith(beginning)
        ]
        if len(found) != 1:
            raise ConfigurationError(
                f"{name} has {len(found) or 'no'} tokens and webhook secrets whose SHA-256 begins"
                " so; see its list."
            )
        [(kind, entry)] = found
        client[kind].remove(entry)


def _hash(entry: dict[str, str] | str) -> str:
    if isinstance(entry, str):
        return hashlib.sha256(entry.encode()).hexdigest()
    return entry["sha256"]


def tokens_of(path: Path, name: str) -> list[str]:
    """Return a line for each token of `name`: the beginning of its hash and its creation date."""
    return [
        f"{token['sha256'][:SHOWN]}  since {token.get('created', 'an unknown day')}"
        for client in _entries(path)
        if client["name"] == name
        for token in client.get("tokens", [])
    ]


def secrets_of(path: Path, name: str) -> list[str]:
    """Return the beginning of the hash of each webhook secret of `name`."""
    return [
        _hash(secret)[:SHOWN]
        for client in _entries(path)
        if client["name"] == name
        for secret in client.get("webhook_secrets", [])
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
    option = parser.add_mutually_exclusive_group()
    option.add_argument(
        "--remove", metavar="SHA256", help="the beginning of a token's or webhook secret's hash"
    )
    option.add_argument("--webhook-secret", action="store_true", help="make one, and no token")
    given = parser.parse_args(arguments)
    try:
        lines = [*_made(given), "", *_token_list(given.file, given.name)]
        lines += [*_secret_list(given.file, given.name), ""]
    except ConfigurationError as error:
        print(f"autos: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    print("\n".join(lines))  # noqa: T201 - for the operator
    return 0


def _made(given: argparse.Namespace) -> list[str]:
    """Make the change. Return the new token and secret, each below a heading."""
    if given.remove is not None:
        remove(given.file, given.name, given.remove)
        return []
    token: str | None = None
    secret: str | None = None
    if given.webhook_secret:
        secret = add_webhook_secret(given.file, given.name)
    else:
        made = add_token(given.file, given.name)
        token, secret = made.token, made.webhook_secret
    lines = []
    if token:
        lines += ["", f"A token for client {given.name}, shown once and kept nowhere:", "", token]
    if secret:
        heading = f"A secret that signs the webhooks of client {given.name}, for its receivers:"
        lines += ["", heading, "", secret]
    if token and secret:
        lines += ["", *SEVERAL]
    return lines


def _secret_list(path: Path, name: str) -> list[str]:
    found = secrets_of(path, name)
    return found and [f"Webhook secrets of {name}, by the beginning of their SHA-256:", *found]


def _token_list(path: Path, name: str) -> list[str]:
    tokens = tokens_of(path, name)
    if not tokens:
        return [f"Client {name} has no token now; {path} keeps its name and its limits."]
    return [f"Tokens of {name} in {path}, by the beginning of their SHA-256:", *tokens]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
