"""The known clients: how each is identified, its limits, and the cases that it may request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.errors import CaseNotAllowed
from storage.portal.slots import court_of
from storage.settings import Settings


@dataclass(frozen=True, slots=True)
class CaseAccess:
    """The courts (as J.TR) and the cases that a client may request, None for all.

    A case must be in both. `refuses_sealed`: its jobs get nothing of a case with any seal.
    """

    courts: frozenset[str] | None = None
    cases: frozenset[str] | None = None
    refuses_sealed: bool = False

    def require(self, process_number: str) -> None:
        """Raise CaseNotAllowed if the client may not request the case of this number."""
        is_in_court = self.courts is None or court_of(process_number) in self.courts
        is_listed = self.cases is None or process_number in self.cases
        if not (is_in_court and is_listed):
            raise CaseNotAllowed


EVERY_CASE = CaseAccess()


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of a client: see docs/reference/limits.md."""

    starts_per_minute: int
    jobs_at_once: int
    open_watches: int
    calls_at_once: int
    repeats_per_minute: int
    waiting_jobs: int = 10_000
    subscriptions: int = 10_000

    @classmethod
    def of(cls, settings: Settings) -> ClientLimits:
        """Return the limits of a client whose entry in the clients file has none."""
        return cls(
            settings.client_starts_per_minute,
            settings.client_jobs_at_once,
            settings.client_open_watches,
            settings.client_calls_at_once,
            settings.client_repeats_per_minute,
            settings.client_waiting_jobs,
            settings.client_subscriptions,
        )


@dataclass(frozen=True, slots=True)
class CallingClient:
    """A client that calls. Its jobs and objects carry its name. `limits`: None for no limit."""

    name: str
    limits: ClientLimits | None = None
    access: CaseAccess = EVERY_CASE


# The client of every call while no clients are configured.
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A client with the SHA-256 digests of its tokens and the names in its certificates.

    Each of `webhook_secrets` signs its webhooks, so that one can be replaced.
    """

    client: CallingClient
    digests: tuple[bytes, ...] = ()
    certificates: tuple[str, ...] = ()
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)


class ClientRegistry:
    """All known clients. By name: `webhook_secrets` and `access`, the cases it may ask for."""

    def __init__(self, known: Iterable[KnownClient]) -> None:
        self._by_digest: dict[bytes, CallingClient] = {}
        self._by_certificate: dict[str, CallingClient] = {}
        self.webhook_secrets: dict[str, tuple[str, ...]] = {}
        self.access: dict[str, CaseAccess] = {}
        for each in known:
            self.webhook_secrets[each.client.name] = each.webhook_secrets
            self.access[each.client.name] = each.client.access
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
