"""The limit of open WatchProgress and WaitJob calls per client in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from storage.clients.client_registry import CallingClient
from storage.errors import LimitReached


class WatchLimiter:
    """Counts the open watches of each client. For the event loop's thread only."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def acquire_watch(self, client: CallingClient) -> Iterator[None]:
        """Count one watch of `client` while the context is open. Raises LimitReached."""
        if client.limits and self._open[client.name] >= client.limits.open_watches:
            raise LimitReached("open_watches", client.name, client.limits.open_watches)
        self._open[client.name] += 1
        try:
            yield
        finally:
            self._open[client.name] -= 1
            if not self._open[client.name]:
                del self._open[client.name]

    def count(self, client: str) -> int:
        """Return how many watches a client has open."""
        return self._open[client]
