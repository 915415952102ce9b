"""The token for the portal: a configured one, or the newest token of all processes.

    TokenSource
    ├── StaticToken       PDPJ_TOKEN as it is
    └── RefreshedToken    client_credentials or refresh_token, kept in the database

Callers report a 401 with `rejected` and a good answer with `accepted`: see login_breaker.py.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from actors.login.login_breaker import LoginBreaker
from actors.login.portal_login import PART, LoginClient, LoginRefused, LoginUnavailable, end_of
from actors.portal.portal_session import TokenSource
from actors.resilience.exchange_deadline import Watchdog
from actors.resilience.retry import retry_until_available
from storage.errors import ConfigurationError, CredentialsRefused, ServiceUnavailable
from storage.login import login_blocks, logins
from storage.login.login_values import Attempt, Cipher, Grant, Login, Token, TokenDecision
from storage.postgres.database import Database
from storage.refusals import PORTAL, RefusalWatch
from storage.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Seconds between two logins, over all processes.
LOGIN_INTERVAL_S = 5.0
# How long a request waits for the login of another thread or process, and how often it checks, in
# seconds.
PATIENCE_S = 10.0
POLL_S = 0.2
# After a 401 with a new token, a case gets no newer token for this many seconds.
HOPELESS_S = 300.0


def token_source(
    settings: Settings, database: Database, watchdog: Watchdog, is_stopping: Callable[[], bool]
) -> TokenSource:
    """Return the token source that the settings select."""
    login = Login.of(settings)
    if settings.pdpj_token_url is None:
        return StaticToken(settings.pdpj_token or "", LoginBreaker(database, login))
    client = LoginClient(
        token_url=settings.pdpj_token_url,
        client_id=settings.pdpj_client_id or "",
        client_secret=settings.pdpj_client_secret,
        watchdog=watchdog,
        ca_file=settings.pdpj_ca_file,
        watch=RefusalWatch(PORTAL, database),
    )
    return RefreshedToken(
        database=database,
        login=login,
        cipher=Cipher(settings.encryption_keys),
        client=client,
        refresh_token=settings.pdpj_refresh_token,
        is_stopping=is_stopping,
    )


class StaticToken:
    """The token of PDPJ_TOKEN, until it is rejected or expires."""

    def __init__(self, token: str, watch: LoginBreaker) -> None:
        # http.client puts a header that it refuses into its error message.
        if not re.fullmatch(r"[!-~]+", token):
            raise ConfigurationError("PDPJ_TOKEN must be visible ASCII characters without spaces.")
        self._token = token
        self._end = end_of(token)
        self._watch = watch

    def current(self, client: str = "") -> str:
        """Return the token."""
        self._watch.check(client)
        if self._end is not None and self._end <= time.time():
            self._watch.refuse("The portal's token has expired.")
        return self._token

    def renew(self, refused: str, process_number: str) -> str:  # noqa: ARG002
        """Return the same token: there is no other."""
        return self._token

    def rejected(self, token: str, process_number: str, client: str = "") -> None:  # noqa: ARG002
        """Record a 401. Two consecutive cases stop their client; if they have two, all."""
        self._watch.rejected(process_number, client)

    def accepted(self, token: str, at: float) -> None:  # noqa: ARG002
        """Clear a suspicion."""
        self._watch.accepted(at)


@dataclass(frozen=True)
class _CurrentToken:
    """A token in memory. Times are those of time.monotonic()."""

    token: str = field(repr=False)
    fresh_until: float
    good_until: float

    @classmethod
    def of(cls, token: Token) -> _CurrentToken:
        now = time.monotonic()
        return cls(token.access_token, now + token.fresh_for_s, now + token.good_for_s)


class RefreshedToken:
    """The newest token of all processes. One of them refreshes it a minute before its end.

    `refresh_token` is the first refresh token, from the settings. After its first use the newest
    one is in the database. None: client_credentials.
    """

    def __init__(
        self,
        *,
        database: Database,
        login: Login,
        cipher: Cipher,
        client: LoginClient,
        refresh_token: str | None,
        is_stopping: Callable[[], bool] = lambda: False,
        interval_s: float = LOGIN_INTERVAL_S,
    ) -> None:
        self._database = database
        self._login = login
        self._cipher = cipher
        self._client = client
        self._refresh_token = refresh_token
        self._is_stopping = is_stopping
        self._interval_s = interval_s
        self._watch = LoginBreaker(database, login)
        self._turning = threading.Lock()
        self._held: _CurrentToken | None = None
        self._hopeless: dict[str, float] = {}

    def current(self, client: str = "") -> str:
        """Return the newest token."""
        self._watch.check(client)
        held = self._held
        if held and time.monotonic() < held.fresh_until:
            return held.token
        return self._turned(None)

    def renew(self, refused: str, process_number: str) -> str:
        """Return a newer token. Log in now unless another thread or process already has one."""
        if time.monotonic() < self._hopeless.get(process_number, 0.0):
            return refused
        held = self._held
        if held and held.token == refused:
            self._held = None
        return self._turned(refused)

    def rejected(self, token: str, process_number: str, client: str = "") -> None:  # noqa: ARG002
        """Record a 401. Two consecutive cases stop their client; if they have two, all."""
        now = time.monotonic()
        self._hopeless = {case: until for case, until in self._hopeless.items() if until > now}
        self._hopeless[process_number] = now + HOPELESS_S
        self._watch.rejected(process_number, client)

    def accepted(self, token: str, at: float) -> None:  # noqa: ARG002
        """Clear a suspicion."""
        self._watch.accepted(at)

    def _turned(self, refused: str | None) -> str:
        """Refresh the token in one thread. The others continue with a token that is still good."""
        fallback = self._good(refused)
        if not self._turning.acquire(timeout=0 if fallback else PATIENCE_S):
            if fallback:
                return fallback
            raise ServiceUnavailable(PART)
        try:
            held = self._held
            if held and held.token != refused and time.monotonic() < held.fresh_until:
                return held.token
            return self._obtained(refused)
        finally:
            self._turning.release()

    def _good(self, refused: str | None) -> str | None:
        held = self._held
        is_good = held and held.token != refused
        if not held or not is_good or time.monotonic() > held.good_until - logins.GOOD_S:
            return None
        return held.token

    def _obtained(self, refused: str | None) -> str:
        end = time.monotonic() + PATIENCE_S
        while True:
            decision = logins.next_token_action(
                self._database,
                self._login,
                self._cipher,
                refused=refused,
                interval_s=self._interval_s,
            )
            token = (
                self._logged_in(decision, decision.attempt) if decision.attempt else decision.token
            )
            if token:
                self._held = _CurrentToken.of(token)
                return token.access_token
            left_s = end - time.monotonic()
            if left_s <= 0 or decision.wait_s > left_s:
                raise ServiceUnavailable(PART)
            time.sleep(min(POLL_S, left_s))

    def _logged_in(self, decision: TokenDecision, attempt: Attempt) -> Token | None:
        """Log in and return the token. Return None if another process was faster."""
        if decision.is_unreadable:
            log.error(
                "stored login cannot be decrypted",
                login=self._login.key,
                help="AUTOS_ENCRYPTION_KEY lacks its key; the settings' credentials are used",
            )
        try:
            grant = self._client.log_in(attempt.refresh_token or self._refresh_token)
        except LoginRefused as error:
            self._refused(attempt, str(error))
            return None
        except LoginUnavailable as error:
            self._failed(attempt, error)
            if decision.token is None:
                raise
            return decision.token
        return self._stored(attempt, grant)

    def _stored(self, attempt: Attempt, grant: Grant) -> Token | None:
        """Store the token before its first use: the replaced refresh token is no longer valid."""
        token = retry_until_available(
            lambda: logins.store(self._database, self._login, self._cipher, attempt, grant),
            is_stopping=self._is_stopping,
        )
        log.info("portal login", login=self._login.key, lives_s=round(grant.lives_s))
        return token

    def _refused(self, attempt: Attempt, why: str) -> None:
        is_newest = retry_until_available(
            lambda: logins.record_rejection(self._database, self._login, attempt, why),
            is_stopping=self._is_stopping,
        )
        if not is_newest:
            return
        self._watch.log_blocked(why)
        raise CredentialsRefused(why, held_for_s=login_blocks.REFUSED_S)

    def _failed(self, attempt: Attempt, error: LoginUnavailable) -> None:
        log.warning("portal login failed", login=self._login.key, why=error.why)
        # If PostgreSQL is unavailable, the lease expires by itself.
        with contextlib.suppress(ServiceUnavailable):
            logins.failed(
                self._database,
                self._login,
                attempt,
                interval_s=self._interval_s,
                pause_s=error.pause_s,
            )
