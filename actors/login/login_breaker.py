"""The state of the portal's login in one process: blocked, suspect, or neither.

A 401 can concern a single case. Two consecutive 401s for different cases, with no good answer
between them, mean that the portal may reject the token: no process sends requests for their client
for REFUSED_S seconds. If the cases belong to two clients, no process sends any request. A client
cannot stop the others with cases of its own: the next request of another client decides. A good
answer ends the block, a 401 extends it to all. A good answer is written to the database only if it
clears a suspicion.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import NoReturn

import structlog

from storage.errors import CredentialsRefused, ServiceUnavailable
from storage.login import login_blocks
from storage.login.login_values import Evidence, Login, LoginState
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The largest age of this process's copy of the login row, in seconds.
LOOK_S = 0.5


class LoginBreaker:
    """Cache the state of `login` for this process, and record changes for the other processes."""

    def __init__(self, database: Database, login: Login) -> None:
        self._database = database
        self._login = login
        self._lock = threading.Lock()
        self._standing = LoginState()
        self._refreshed_at = float("-inf")
        self._good_at = float("-inf")

    def check(self, client: str) -> None:
        """Raise CredentialsRefused while the login is blocked for `client`."""
        standing = self._now()
        left_s = self._refreshed_at + standing.held_for_s - time.monotonic()
        if standing.hold_reason is not None and left_s > 0 and standing.stops(client):
            raise CredentialsRefused(standing.hold_reason, held_for_s=left_s)

    def accepted(self, at: float) -> None:
        """Record a good answer of the portal, at `at` of time.monotonic()."""
        self._good_at = max(self._good_at, at)
        self._now()

    def rejected(self, process_number: str, client: str) -> None:
        """Record a 401 for a client's case. Raises CredentialsRefused if the token counts as
        rejected for the client.
        """
        good_s_ago = time.monotonic() - self._good_at
        evidence = login_blocks.record_unauthorized(
            self._database,
            self._login,
            process_number,
            client,
            good_s_ago=good_s_ago if good_s_ago != float("inf") else None,
        )
        self._refreshed_at = float("-inf")
        if evidence is not Evidence.NONE:
            stopped = client if evidence is Evidence.OF_CLIENT else None
            self.refuse("The portal refused the token for two consecutive cases.", stopped)

    def refuse(self, why: str, client: str | None = None) -> NoReturn:
        """Block the login for `client`, or for all, log it once, and raise CredentialsRefused."""
        if login_blocks.block_if_rejected(self._database, self._login, why, client):
            self.log_blocked(why, client)
        self._refreshed_at = float("-inf")
        raise CredentialsRefused(why, held_for_s=login_blocks.REFUSED_S)

    def log_blocked(self, why: str, client: str | None = None) -> None:
        """Log that the login is blocked. `client`: for this client only."""
        log.error(
            "portal login refused",
            login=self._login.key,
            reason=why,
            stops=client or "all clients",
            retry_in_s=login_blocks.REFUSED_S,
            help="jobs wait until the credentials change, or until the next attempt",
        )

    def _now(self) -> LoginState:
        with self._lock:
            if time.monotonic() - self._refreshed_at >= LOOK_S:
                # If PostgreSQL is unavailable, the previous state stays in use.
                with contextlib.suppress(ServiceUnavailable):
                    self._standing = login_blocks.standing(self._database, self._login)
                self._refreshed_at = time.monotonic()
            self._end_doubt()
            return self._standing

    def _end_doubt(self) -> None:
        doubted_for_s = self._standing.doubted_for_s
        if doubted_for_s is None or self._good_at <= self._refreshed_at - doubted_for_s:
            return
        with contextlib.suppress(ServiceUnavailable):
            if (
                login_blocks.clear_unauthorized(self._database, self._login)
                and self._standing.hold_reason
            ):
                log.info("portal accepts the login again", login=self._login.key)
            self._standing = LoginState()
