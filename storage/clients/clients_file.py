"""AUTOS_CLIENTS_FILE: it is validated strictly and read again when it changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import structlog

from storage.clients.client_registry import (
    CallingClient,
    CaseAccess,
    ClientLimits,
    ClientRegistry,
    KnownClient,
)
from storage.environment.setting_values import is_webhook_secret, webhook_key
from storage.errors import ConfigurationError, InvalidRequest
from storage.process_number import is_court, parse_process_number

# The name of a client is the first part of its object keys.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST = 1_000_000
MAX_BYTES = 16 * 1024 * 1024
# No file has this version.
UNREAD: tuple[int, ...] = ()

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class ClientsFile:
    """The clients in a file. `registry` always holds the last content that was valid.

    `problem`: why the file as it is now is not used, in one sentence; empty if it is.
    """

    def __init__(self, path: Path, defaults: ClientLimits) -> None:
        """Read the file. Raises ConfigurationError with one sentence if it is invalid."""
        self._path = path
        self._defaults = defaults
        self._seen = file_version(path)
        self.registry = read(path, defaults)
        self.problem = ""

    def refresh(self) -> None:
        """Read the file again if it has changed. Keep the old clients if it is invalid."""
        version = file_version(self._path)
        if version == self._seen:
            return
        self._seen = version
        try:
            self.registry = read(self._path, self._defaults)
        except ConfigurationError as error:
            if is_unread(error):
                self._seen = UNREAD
            if str(error) != self.problem:
                self.problem = str(error)
                log.error("clients file refused; the clients of before stay", problem=self.problem)  # noqa: TRY400 - no bug of ours
        else:
            self.problem = ""
            log.info("clients file read again")


def read(path: Path, defaults: ClientLimits) -> ClientRegistry:
    """Return the clients in the file.

    Raises ConfigurationError with one sentence that repeats no value of the file.
    """
    try:
        return registry_of(_content(path), defaults)
    except OSError as error:
        raise ConfigurationError(
            f"AUTOS_CLIENTS_FILE: {path}: it cannot be read ({error.strerror})."
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"AUTOS_CLIENTS_FILE: {path}: {error}.") from error


def registry_of(content: bytes, defaults: ClientLimits) -> ClientRegistry:
    """Return the clients in a file's content. Raises ValueError that names the invalid place."""
    return ClientRegistry(_clients(_parsed(content), defaults))


def file_version(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes if the file is written or replaced, or may be read by others.

    None if there is no file.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def is_unread(error: ConfigurationError) -> bool:
    """Return whether a file was not read at all, for example for want of a descriptor.

    Its version shows no end of that, so it must be tried again.
    """
    return isinstance(error.__cause__, OSError)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return content


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content.decode(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON: {error.msg}, line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _clients(content: object, defaults: ClientLimits) -> Iterator[KnownClient]:
    entries = _list(_fields(content, "it", {"clients"}, {"clients"})["clients"], "clients")
    if not entries:
        raise ValueError("clients must name at least one client")
    taken: dict[object, str] = {}
    for number, entry in enumerate(entries):
        where = f"clients[{number}]"
        known = _client(entry, where, defaults, is_alone=len(entries) == 1)
        for identity in _identities(known):
            if first := taken.get(identity):
                raise ValueError(
                    f"{where} has a name, token, certificate or webhook secret of {first}"
                )
            taken[identity] = where
        yield known


def _client(entry: object, where: str, defaults: ClientLimits, *, is_alone: bool) -> KnownClient:
    optional = {"tokens", "certificates", "limits", "courts", "cases", "sealed", "webhook_secrets"}
    fields = _fields(entry, where, {"name", *optional}, {"name"})
    name = fields["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{where}.name must be 1 to 63 of a-z, 0-9 and inner hyphens")
    return KnownClient(
        CallingClient(
            name,
            _limits(fields.get("limits", {}), f"{where}.limits", defaults),
            _access(fields, where, is_alone=is_alone),
        ),
        tuple(_digests(fields.get("tokens", []), f"{where}.tokens")),
        tuple(_certificates(fields.get("certificates", []), f"{where}.certificates")),
        tuple(_secrets(fields.get("webhook_secrets", []), f"{where}.webhook_secrets")),
    )


def _identities(known: KnownClient) -> Iterator[object]:
    """Return the values that no two clients may have in common."""
    yield known.client.name
    yield from known.digests
    yield from (("certificate", name) for name in known.certificates)
    yield from {("secret", webhook_key(secret)) for secret in known.webhook_secrets}


def _secrets(entries: object, where: str) -> Iterator[str]:
    for number, entry in enumerate(_list(entries, where)):
        if not isinstance(entry, str) or not is_webhook_secret(entry):
            raise ValueError(f"{where}[{number}] must be whsec_ and the base64 of 24 to 64 bytes")
        yield entry


def _digests(entries: object, where: str) -> Iterator[bytes]:
    for number, entry in enumerate(_list(entries, where)):
        place = f"{where}[{number}]"
        fields = _fields(entry, place, {"sha256", "created"}, {"sha256"})
        digest = fields["sha256"]
        if not isinstance(digest, str) or not SHA256.fullmatch(digest):
            raise ValueError(
                f"{place}.sha256 must be the SHA-256 of a token, 64 lower-case hexadecimal digits"
            )
        if not _is_date(fields.get("created", "2026-01-01")):
            raise ValueError(f"{place}.created must be a date such as 2026-01-31")
        yield bytes.fromhex(digest)


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _certificates(entries: object, where: str) -> Iterator[str]:
    for number, entry in enumerate(_list(entries, where)):
        if not isinstance(entry, str) or not entry or not entry.isprintable():
            raise ValueError(f"{where}[{number}] must be a name as it stands in a certificate")
        yield entry


def _limits(entry: object, where: str, defaults: ClientLimits) -> ClientLimits:
    names = set(ClientLimits.__dataclass_fields__)
    given = _fields(entry, where, names, set())
    for name, value in given.items():
        # Not isinstance: true is an int too.
        if type(value) is not int or not 1 <= value <= MOST:
            raise ValueError(f"{where}.{name} must be a whole number from 1 to {MOST}")
    return ClientLimits(**{name: given.get(name, getattr(defaults, name)) for name in names})


def _access(fields: Mapping[str, Any], where: str, *, is_alone: bool) -> CaseAccess:
    courts, cases = fields.get("courts"), fields.get("cases")
    # All clients share one login at the portal. So a client gets the sealed cases that this login
    # may read only if the file permits it, or if it is the only client.
    sealed = fields.get("sealed", "fetch" if is_alone else "refuse")
    if sealed not in {"fetch", "refuse"}:
        raise ValueError(f"{where}.sealed must be fetch or refuse")
    return CaseAccess(
        None if courts is None else frozenset(_courts(courts, f"{where}.courts")),
        None if cases is None else frozenset(_cases(cases, f"{where}.cases")),
        refuses_sealed=sealed == "refuse",
    )


def _courts(entries: object, where: str) -> Iterator[str]:
    for number, entry in enumerate(_filled_list(entries, where)):
        if not isinstance(entry, str) or not is_court(entry):
            raise ValueError(f"{where}[{number}] must be a court as J.TR, such as 8.26")
        yield entry


def _cases(entries: object, where: str) -> Iterator[str]:
    for number, entry in enumerate(_filled_list(entries, where)):
        try:
            yield parse_process_number(entry if isinstance(entry, str) else "")
        except InvalidRequest as error:
            raise ValueError(
                f"{where}[{number}] must be a process number with right check digits"
            ) from error


def _fields(value: object, where: str, known: set[str], needed: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object with {', '.join(sorted(known))}")  # noqa: TRY004
    if missing := sorted(needed - value.keys()):
        raise ValueError(f"{where} has no {missing[0]}")
    if value.keys() - known:
        raise ValueError(f"{where} has a key that is none of {', '.join(sorted(known))}")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list")  # noqa: TRY004
    return value


def _filled_list(value: object, where: str) -> list[Any]:
    found = _list(value, where)
    if not found:
        raise ValueError(f"{where} must not be empty; without it the client may ask for all")
    return found
