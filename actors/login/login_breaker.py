"""How the portal's login stands, for one process: held, in doubt, or neither.

A 401 need not be the token's fault, for a case may simply answer so. Two different cases in a row,
with no good answer in between, are: then everybody stops, once and for a while. Nothing is written
for good answers unless there is a doubt that they end.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import NoReturn

import structlog

from storage.errors import CredentialsRefused, ServiceUnavailable
from storage.login import logins
from storage.login.logins import Login, LoginState
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# How old what this process knows of the row may be.
LOOK_S = 0.5


class LoginBreaker:
    """What this process knows of `login`, and tells the others of it."""

    def __init__(self, database: Database, login: Login) -> None:
        self._database = database
        self._login = login
        self._lock = threading.Lock()
        self._standing = LoginState()
        self._refreshed_at = float("-inf")
        self._good_at = float("-inf")

    def check(self) -> None:
        """Raises CredentialsRefused while the login is held."""
        standing = self._now()
        left_s = self._refreshed_at + standing.held_for_s - time.monotonic()
        if standing.hold_reason is not None and left_s > 0:
            raise CredentialsRefused(standing.hold_reason, held_for_s=left_s)

    def accepted(self, at: float) -> None:
        """The portal gave a good answer, at `at` of time.monotonic()."""
        self._good_at = max(self._good_at, at)
        self._now()

    def rejected(self, process_number: str) -> None:
        """The portal answered 401 for a case. Raises CredentialsRefused if that is one too many."""
        good_s_ago = time.monotonic() - self._good_at
        is_refused = logins.record_unauthorized(
            self._database,
            self._login,
            process_number,
            good_s_ago=good_s_ago if good_s_ago != float("inf") else None,
        )
        self._refreshed_at = float("-inf")
        if is_refused:
            self.refuse("The portal refuses the token for one case after another.")

    def refuse(self, why: str) -> NoReturn:
        """Holds everybody, says so once, and raises CredentialsRefused."""
        if logins.block_if_rejected(self._database, self._login, why):
            self.log_blocked(why)
        self._refreshed_at = float("-inf")
        raise CredentialsRefused(why, held_for_s=logins.REFUSED_S)

    def log_blocked(self, why: str) -> None:
        """The one line that says that the login is refused."""
        log.error(
            "portal login refused",
            login=self._login.key,
            reason=why,
            retry_in_s=logins.REFUSED_S,
            help="jobs wait; they go on when the credentials change, or are tried again then",
        )

    def _now(self) -> LoginState:
        with self._lock:
            if time.monotonic() - self._refreshed_at >= LOOK_S:
                # Without PostgreSQL: as it was.
                with contextlib.suppress(ServiceUnavailable):
                    self._standing = logins.standing(self._database, self._login)
                self._refreshed_at = time.monotonic()
            self._end_doubt()
            return self._standing

    def _end_doubt(self) -> None:
        doubted_for_s = self._standing.doubted_for_s
        if doubted_for_s is None or self._good_at <= self._refreshed_at - doubted_for_s:
            return
        with contextlib.suppress(ServiceUnavailable):
            if (
                logins.clear_unauthorized(self._database, self._login)
                and self._standing.hold_reason
            ):
                log.info("portal accepts the login again", login=self._login.key)
            self._standing = LoginState()
