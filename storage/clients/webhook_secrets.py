"""Which secrets sign the webhooks of a client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.clients.client_registry import DEFAULT_NAME, ClientLimits
from storage.clients.clients_file import ClientsFile
from storage.settings import Settings


@dataclass(frozen=True)
class WebhookSecrets:
    """`shared`: those of WEBHOOK_SECRET, for a single client. `file`: None without clients."""

    shared: Sequence[str]
    file: ClientsFile | None = None

    @classmethod
    def of(cls, settings: Settings, limits: ClientLimits) -> WebhookSecrets:
        """Return the secrets of the settings. Raises ConfigurationError with one sentence."""
        path = settings.clients_file
        return cls(settings.webhook_secrets, ClientsFile(path, limits) if path else None)

    def current(self, client: str) -> Sequence[str]:
        """Return the secrets of a client as the file has them now; none if it has none.

        No two clients are signed for with the same secret: whoever has it could forge the events
        of all of them.
        """
        if self.file is not None:
            self.file.look()
        return self.known(client)

    def known(self, client: str) -> Sequence[str]:
        """Return the same as of the last look at the file."""
        if self.file is None:
            # The jobs of others are from a time, or by a server, that has a clients file.
            return self.shared if client == DEFAULT_NAME else ()
        own = self.file.roster.webhook_secrets
        if client not in own:
            return ()
        is_only_one = sum(not secrets for secrets in own.values()) == 1
        return own[client] or (self.shared if is_only_one else ())
