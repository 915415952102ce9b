"""Which client a call comes from: by its token, else by the certificate of its connection."""

from __future__ import annotations

import asyncio
from typing import Any

from server.access.client_registry import CallingClient, ClientRegistry
from server.access.clients_file import ClientsFile
from server.errors.error_statuses import NoToken, UnknownToken

LOOK_S = 1.0
# Neither says anything about anybody: balancers have no token, and the contract is public.
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class Authenticator:
    """Knows callers by `file`; without one everybody is the client `default`."""

    def __init__(self, file: ClientsFile | None, default: CallingClient) -> None:
        self._file = file
        self._default = default

    @property
    def roster(self) -> ClientRegistry | None:
        """All known clients: another object after each change. None when nobody must be known."""
        return self._file.roster if self._file else None

    async def keep_current(self) -> None:
        """Looks at the file every second, for ever; a client that is added is known by then."""
        while self._file is not None:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self._file.look)

    def identify(self, method: str, context: Any) -> CallingClient:
        """The client that calls `method`. Raises Unauthenticated."""
        if self._file is None or method.startswith(OPEN_SERVICES):
            return self._default
        return _known(self._file.roster, context)

    def reauthenticate(self, client: CallingClient, method: str, context: Any) -> None:
        """Raises Unauthenticated when the caller is no longer known as this client."""
        if self.identify(method, context).name != client.name:
            raise UnknownToken


def _known(roster: ClientRegistry, context: Any) -> CallingClient:
    given = [value for key, value in context.invocation_metadata() if key == "authorization"]
    # A token goes before a certificate, which may be a whole house's. A wrong one is told.
    if given:
        return _by_token(roster, given)
    names = (name.decode(errors="replace") for name in context.peer_identities() or ())
    client = roster.by_certificate(names)
    if client is None:
        raise NoToken
    return client


def _by_token(roster: ClientRegistry, given: list[str]) -> CallingClient:
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise NoToken
    client = roster.by_token(token.strip())
    if client is None:
        raise UnknownToken
    return client
