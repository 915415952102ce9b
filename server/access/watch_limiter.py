"""How many WatchProgress calls of each client are open in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from server.access.client_registry import CallingClient
from storage.errors import LimitReached

RETRY_IN_S = 5.0


class WatchLimiter:
    """Counts them. For the event loop's thread only."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def acquire_watch(self, client: CallingClient) -> Iterator[None]:
        """Counts one meanwhile. Raises LimitReached."""
        if client.limits and self._open[client.name] >= client.limits.open_watches:
            raise LimitReached(
                "TOO_MANY_WATCHES",
                f"Client {client.name} has reached its limit of open watches here:"
                f" {client.limits.open_watches}.",
                client=client.name,
                limit=client.limits.open_watches,
                retry_in_s=RETRY_IN_S,
            )
        self._open[client.name] += 1
        try:
            yield
        finally:
            self._open[client.name] -= 1
            if not self._open[client.name]:
                del self._open[client.name]

    def count(self, client: str) -> int:
        """How many a client has open."""
        return self._open[client]
