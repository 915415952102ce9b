"""Who calls: the clients that are known, and the one of the present call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client may have at most: see docs/CLIENTS.md."""

    starts_per_minute: int
    jobs_at_once: int
    open_watches: int


@dataclass(frozen=True, slots=True)
class CallingClient:
    """A caller by its name, which its jobs and objects carry. `limits`: None for no limit."""

    name: str
    limits: ClientLimits | None = None


# Whoever calls while no clients are configured.
DEFAULT_NAME = "default"

_NOBODY_ELSE = CallingClient(DEFAULT_NAME)
_caller: ContextVar[CallingClient] = ContextVar("caller", default=_NOBODY_ELSE)


def current_client() -> CallingClient:
    """The client of the present call, in its own task and on the threads that work for it."""
    return _caller.get()


def set_current_client(client: CallingClient) -> None:
    """Names the caller for the rest of the present call: each call has a task of its own."""
    _caller.set(client)


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A client and how it is recognised: SHA-256 digests of its tokens, names in certificates."""

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
        """Return the client of a token, None without one; in the same time for any number of them.

        What the time may show is where the digest of the given token lies in the table, and nobody
        can choose a token by its digest.
        """
        return self._by_digest.get(hashlib.sha256(token.encode()).digest())

    def by_certificate(self, names: Iterable[str]) -> CallingClient | None:
        """Whose certificate bears these names; None when they name nobody, or several."""
        found = {self._by_certificate[name] for name in names if name in self._by_certificate}
        return found.pop() if len(found) == 1 else None
