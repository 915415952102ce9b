"""The secrets that sign the webhooks of a client."""

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

    def troubles(self) -> list[str]:
        """Return why the clients file as it is now is not used, in one sentence; empty if it is."""
        return [self.file.problem] if self.file is not None and self.file.problem else []

    def current(self, client: str) -> Sequence[str]:
        """Return the secrets of a client as the file has them now; none if it has none.

        No two clients have the same secret: a receiver of one could forge the events of the other.
        """
        if self.file is not None:
            self.file.refresh()
        return self.known(client)

    def known(self, client: str) -> Sequence[str]:
        """Return the secrets of a client as the file had them when it was last read."""
        if self.file is None:
            # Jobs of other clients began while the server, or another one, had a clients file.
            return self.shared if client == DEFAULT_NAME else ()
        own = self.file.registry.webhook_secrets
        if client not in own:
            return ()
        is_only_one = sum(not secrets for secrets in own.values()) == 1
        return own[client] or (self.shared if is_only_one else ())
