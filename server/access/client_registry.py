"""The known clients, and the client of the current call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of a client: see docs/reference/limits.md."""

    starts_per_minute: int
    jobs_at_once: int
    open_watches: int


@dataclass(frozen=True, slots=True)
class CallingClient:
    """A client that calls. Its jobs and objects carry its name. `limits`: None for no limit."""

    name: str
    limits: ClientLimits | None = None


# The client of every call while no clients are configured.
DEFAULT_NAME = "default"

_NOBODY_ELSE = CallingClient(DEFAULT_NAME)
_caller: ContextVar[CallingClient] = ContextVar("caller", default=_NOBODY_ELSE)


def current_client() -> CallingClient:
    """Return the client of the current call. Works in the call's task and on its threads."""
    return _caller.get()


def set_current_client(client: CallingClient) -> None:
    """Set the client of the current call. Each call has its own task, so it ends with the call."""
    _caller.set(client)


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A client with the SHA-256 digests of its tokens and the names in its certificates."""

    client: CallingClient
    digests: tuple[bytes, ...] = ()
    certificates: tuple[str, ...] = ()


class ClientRegistry:
    """All known clients."""

    def __init__(self, known: Iterable[KnownClient]) -> None:
        self._by_digest: dict[bytes, CallingClient] = {}
        self._by_certificate: dict[str, CallingClient] = {}
        for each in known:
            self._by_digest |= dict.fromkeys(each.digests, each.client)
            self._by_certificate |= dict.fromkeys(each.certificates, each.client)

    def by_token(self, token: str) -> CallingClient | None:
        """Return the client of a token, or None if no client has it.

        The time that this takes does not depend on the number of clients. It may reveal where the
        digest of the given token lies in the table, but a token cannot be chosen by its digest.
        """
        return self._by_digest.get(hashlib.sha256(token.encode()).digest())

    def by_certificate(self, names: Iterable[str]) -> CallingClient | None:
        """Return the client with a certificate of these names; None if no or several match."""
        found = {self._by_certificate[name] for name in names if name in self._by_certificate}
        return found.pop() if len(found) == 1 else None
