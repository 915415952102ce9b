"""Start looks at watched cases that are due, while this process leads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from storage.clients.client_registry import DEFAULT_NAME, EVERY_CASE, CaseAccess
from storage.clients.clients_file import ClientsFile
from storage.errors import ServiceUnavailable
from storage.postgres.database import Database
from storage.subscriptions import looks

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# With BATCH looks at a time, ten thousand that are due at once begin within ten minutes.
INTERVAL_S = 1.0


@dataclass
class LookStarter:
    """The dependencies. `file`: the known clients; None for one client, which may list every case.

    `is_leading`: whether this process starts looks now. `deadline_s`: the time limit of a look.
    """

    database: Database
    file: ClientsFile | None
    is_leading: Callable[[], bool]
    deadline_s: float

    def start(self, stop: threading.Event) -> None:
        """Work in a thread of its own until `stop` is set."""
        threading.Thread(target=self._run, args=(stop,), name="looks", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(INTERVAL_S):
            try:
                self.start_due()
            except ServiceUnavailable as error:
                log.debug("looks not started", part=error.part)
            except Exception:
                log.exception("looks not started")

    def start_due(self) -> None:
        """Start some looks if this process leads. Raises ServiceUnavailable."""
        if not self.is_leading():
            return
        if self.file is not None:
            self.file.refresh()
        looks.start(self.database, self._access_of, deadline_s=self.deadline_s)

    def _access_of(self, client: str) -> CaseAccess | None:
        if self.file is None:
            return EVERY_CASE if client == DEFAULT_NAME else None
        return self.file.registry.access.get(client)
