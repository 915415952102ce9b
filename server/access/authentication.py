"""Authentication: a call's client is found by its token, else by its connection's certificate.

The rest of the call reads its client with `current_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

from server.access.connection_guard import ConnectionGuard
from server.errors import NoToken, UnknownToken
from storage.clients.client_registry import DEFAULT_NAME, CallingClient, ClientRegistry
from storage.clients.clients_file import ClientsFile

_NOBODY_ELSE = CallingClient(DEFAULT_NAME)
_caller: ContextVar[CallingClient] = ContextVar("caller", default=_NOBODY_ELSE)


def current_client() -> CallingClient:
    """The client of the present call, in its own task and on the threads that work for it."""
    return _caller.get()


def has_client() -> bool:
    """Return True on behalf of a call, False for work of this process itself."""
    return _caller.get() is not _NOBODY_ELSE


def set_current_client(client: CallingClient) -> None:
    """Names the caller for the rest of the present call: each call has a task of its own."""
    _caller.set(client)


LOOK_S = 1.0
# Neither service returns data of a client. Load balancers have no token; the contract is public.
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")

# gRPC's properties of a connection, by the type of the alternative names that they hold.
_PROPERTIES = {"dns": "peer_dns", "uri": "peer_uri", "email": "peer_email", "ip": "peer_ip"}
_ALTERNATIVE_NAMES, _COMMON_NAME = "x509_subject_alternative_name", "x509_common_name"


class Authenticator:
    """Identifies callers by the clients in `file`. If it is None, every caller is `default`.

    `connections` records the connections of callers that were identified.
    """

    def __init__(
        self,
        file: ClientsFile | None,
        default: CallingClient,
        connections: ConnectionGuard | None = None,
    ) -> None:
        self._file = file
        self._default = default
        self._connections = connections

    @property
    def registry(self) -> ClientRegistry | None:
        """Return all known clients: a new object after each change; None without a clients file."""
        return self._file.registry if self._file else None

    async def keep_current(self) -> None:
        """Read the clients file again if it changed, every LOOK_S seconds, for ever."""
        while self._file is not None:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self._file.refresh)

    def identify(self, method: str, context: Any) -> CallingClient:
        """Return the client that calls `method`. Raises Unauthenticated."""
        if method.startswith(OPEN_SERVICES):
            return self._default
        client = _known(self._file.registry, context) if self._file else self._default
        if self._connections:
            self._connections.authenticated(context)
        return client

    def reauthenticate(self, client: CallingClient, method: str, context: Any) -> None:
        """Check that the caller is still known as `client`. Raises Unauthenticated if it is not."""
        if self.identify(method, context).name != client.name:
            raise UnknownToken


def _known(registry: ClientRegistry, context: Any) -> CallingClient:
    given = [value for key, value in context.invocation_metadata() if key == "authorization"]
    # A token takes precedence: several clients may share one certificate. A wrong token is refused.
    if given:
        return _by_token(registry, given)
    client = registry.by_certificate(names_by_type(context.auth_context()))
    if client is None:
        raise NoToken
    return client


def _by_token(registry: ClientRegistry, given: list[str]) -> CallingClient:
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise NoToken
    client = registry.by_token(token.strip())
    if client is None:
        raise UnknownToken
    return client


def names_by_type(connection: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """Yield the names that are written as their type requires.

    `connection`: what gRPC's `auth_context` returns. The common name counts as a DNS name, and only
    if the certificate has no alternative names.
    """
    found = {kind: connection.get(name, ()) for kind, name in _PROPERTIES.items()}
    if not connection.get(_ALTERNATIVE_NAMES) and not any(found.values()):
        found["dns"] = connection.get(_COMMON_NAME, ())
    for kind, values in found.items():
        for value in values:
            name = value.decode(errors="replace")
            if _type_of(name) == kind:
                yield name


def _type_of(name: str) -> str:
    """Return the type of a name as it is written, in a certificate or in the clients file."""
    try:
        ip_address(name)
    except ValueError:
        if ":" in name:
            return "uri"
        return "email" if "@" in name else "dns"
    return "ip"
