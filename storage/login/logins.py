"""The portal's token in the database. The newest token wins; one process at a time requests one.

A blocked login is blocked for all processes. Times are the database's. No transaction is open
during a request to the portal: the process that logs in holds a lease. A new token is stored unless
a newer one is already stored, even if another process holds the lease by then, because a replaced
refresh token is no longer valid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any
from uuid import UUID, uuid4

from peewee import SQL, Case, fn

from storage.errors import CredentialsRefused
from storage.login.ciphers import Cipher, fingerprint
from storage.models import Job, PortalLogin
from storage.models.base import is_any, time_after
from storage.models.job import RUNNING
from storage.postgres.database import Database, Row, Transaction
from storage.settings import Settings

# Seconds for which a login stays blocked, unless the credentials change.
REFUSED_S = 900
# A token is refreshed this many seconds before its end, or after half of its life if that is
# shorter.
MARGIN_S = 60.0
# Longer than a login may take, in seconds.
LEASE_S = 30
# A token with less than this many seconds left is not sent any more.
GOOD_S = 2.0
FAILURE_CAP_S = 300

_NO_REFUSAL = {
    "refused_until": None,
    "refused_fingerprint": None,
    "refused_reason": None,
    "refused_client": None,
}
_NO_DOUBT = {"doubtful_case": None, "doubtful_client": None, "doubt_time": None}
_NO_LEASE = {"lease": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class Login:
    """The configured login: the key of its row, and the fingerprint of its credentials."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, settings: Settings) -> Login:
        """Return the login of `settings`. Takes a tenth of a second: call it once per process."""
        token, refresh = settings.pdpj_token or "", settings.pdpj_refresh_token or ""
        if settings.pdpj_token_url is None:
            name = key = f"static {settings.pdpj_base_url}"
        else:
            grant = "refresh_token" if refresh else "client_credentials"
            name = key = f"{grant} {settings.pdpj_token_url} {settings.pdpj_client_id}"
        if token or refresh:
            # A token that the operator changes gets a new row, and the former row keeps the tokens
            # that were renewed from the former one. A new client secret or encryption key needs no
            # new row.
            key = f"{name} {fingerprint(name, token, refresh)}"
        secret = settings.pdpj_client_secret or ""
        return cls(key, fingerprint(name, token, refresh, secret, *settings.encryption_keys))


@dataclass(frozen=True, slots=True)
class LoginBlock:
    """The reason why requests must wait, and its end. `client`: only its requests; None: all."""

    reason: str
    until_time: datetime
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token for the portal. Seconds from the time of reading, negative after the end."""

    access_token: str = field(repr=False)
    fresh_for_s: float
    good_for_s: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to log in, for LEASE_S seconds. `refresh_token`: the newest; None: none is kept."""

    lease: UUID
    generation: int
    refresh_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenDecision:
    """The next action for a token.

    With `attempt`: log in. Without: take `token`, or read again, if necessary after `wait_s`
    seconds. If `attempt` has a `token` beside it, that token may be used if the login fails.
    `is_unreadable`: no key decrypts the token in the row.
    """

    token: Token | None
    attempt: Attempt | None = None
    wait_s: float = 0.0
    is_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a login. `refresh_token` None: the used one stays valid."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lives_s: float


@dataclass(frozen=True, slots=True)
class LoginState:
    """The state of a login: why and for how long it is blocked, and for how long it is suspect.

    `held_client`: the only client that the block stops; None: it stops all.
    """

    hold_reason: str | None = None
    held_for_s: float = 0.0
    doubted_for_s: float | None = None
    held_client: str | None = None

    def stops(self, client: str) -> bool:
        """Return whether a block stops the requests for `client`."""
        return self.held_client is None or self.held_client == client


class Evidence(Enum):
    """The result of consecutive 401s: none, or their client must stop, or all clients."""

    NONE = auto()
    OF_CLIENT = auto()
    OF_SEVERAL = auto()


def next_token_action(
    database: Database, login: Login, cipher: Cipher, *, refused: str | None, interval_s: float
) -> TokenDecision:
    """Return the caller's next action for a token other than `refused`.

    Two logins are at least `interval_s` seconds apart, over all processes. Raises
    CredentialsRefused.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, login)
        # A block of one client does not stop the login: the other clients need the token.
        if row["is_held"] and row["refused_client"] is None:
            raise CredentialsRefused(row["refused_reason"], held_for_s=row["held_for_s"])
        token = _token(row, cipher)
        if token and (token.access_token == refused or token.good_for_s <= GOOD_S):
            token = None
        if token and token.fresh_for_s > 0:
            return TokenDecision(token)
        if row["is_leased"] or row["wait_s"] > 0:
            return TokenDecision(token, wait_s=max(0.0, row["wait_s"]))
        refresh_token = _decrypted(row["refresh_token"], cipher)
        attempt = Attempt(uuid4(), row["generation"], refresh_token)
        _lease(transaction, login, attempt, interval_s)
        return TokenDecision(token, attempt, is_unreadable=_is_unreadable(row, cipher))


def store(
    database: Database, login: Login, cipher: Cipher, attempt: Attempt, grant: Grant
) -> Token | None:
    """Store the token of `grant` for all processes. Return None if a newer one is already stored.

    A repeated call returns None.
    """
    good_for_s = grant.lives_s
    fresh_for_s = good_for_s - min(MARGIN_S, good_for_s / 2)
    refresh_token = grant.refresh_token
    with database.transaction() as transaction:
        is_newest = transaction.execute(
            PortalLogin.update(
                generation=PortalLogin.generation + 1,
                access_token=cipher.encrypt(grant.access_token),
                access_refresh_time=time_after(fresh_for_s),
                access_expires_time=time_after(good_for_s),
                refresh_token=cipher.encrypt(refresh_token) if refresh_token else None,
                failure_count=0,
                **_NO_LEASE,
                **_forgiven(),
            ).where(
                PortalLogin.login_key == login.key,
                PortalLogin.generation == attempt.generation,
            )
        )
    return Token(grant.access_token, fresh_for_s, good_for_s) if is_newest else None


def failed(
    database: Database, login: Login, attempt: Attempt, *, interval_s: float, pause_s: float | None
) -> None:
    """Record that the login was not answered. Each delay before the next login is longer.

    `pause_s` applies if it is longer than that delay.
    """
    waits = (FAILURE_CAP_S, interval_s * fn.power(2, fn.least(PortalLogin.failure_count, 10)))
    with database.transaction() as transaction:
        transaction.execute(
            PortalLogin.update(
                failure_count=PortalLogin.failure_count + 1,
                next_login_time=time_after(fn.greatest(pause_s or 0.0, fn.least(*waits))),
                **_NO_LEASE,
            ).where(PortalLogin.login_key == login.key, PortalLogin.lease == attempt.lease)
        )


def record_rejection(database: Database, login: Login, attempt: Attempt, why: str) -> bool:
    """Record that the login was refused: no process tries again for REFUSED_S seconds. Idempotent.

    Return False if another process is logging in or has logged in since; nothing is changed then.
    """
    with database.transaction() as transaction:
        touched = transaction.execute(
            PortalLogin.update(
                failure_count=0, **_NO_LEASE, **_NO_DOUBT, **_refusal(login, why)
            ).where(
                PortalLogin.login_key == login.key,
                PortalLogin.generation == attempt.generation,
                (PortalLogin.lease == attempt.lease) | PortalLogin.lease.is_null(),
            )
        )
    return touched > 0


def block_if_rejected(
    database: Database, login: Login, why: str, client: str | None = None
) -> bool:
    """Block the login for `client`, or for all if None. Return whether it was not blocked before.

    A block of one client becomes one of all if it has another client now.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, login)
        if row["is_held"] and row["refused_client"] in (None, client):
            return False
        transaction.execute(
            PortalLogin.update(_refusal(login, why, None if row["is_held"] else client)).where(
                PortalLogin.login_key == login.key
            )
        )
        return True


def record_unauthorized(
    database: Database,
    login: Login,
    process_number: str,
    client: str = "",
    *,
    good_s_ago: float | None,
) -> Evidence:
    """Record a 401 for a case of `client`. Return what it shows together with earlier ones.

    `good_s_ago`: seconds since the last good answer that the calling process received.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, login)
        if row["is_held"] and row["refused_client"] is None:
            return Evidence.OF_SEVERAL
        if row["doubtful_case"] and good_s_ago is not None and good_s_ago < row["doubted_for_s"]:
            _trust(transaction, login)
            row = _locked(transaction, login)
        if row["doubtful_case"]:
            is_other_case = row["doubtful_case"] != process_number
            if row["doubtful_client"] not in (None, client):
                return Evidence.OF_SEVERAL if is_other_case else Evidence.NONE
            # After a block the first 401 is enough, whatever its case.
            is_over = row["refused_until"] is not None
            return Evidence.OF_CLIENT if is_other_case or is_over else Evidence.NONE
        doubt = {"doubtful_case": process_number, "doubtful_client": client}
        transaction.execute(
            PortalLogin.update(doubt_time=fn.clock_timestamp(), **doubt).where(
                PortalLogin.login_key == login.key
            )
        )
        return Evidence.NONE


def clear_unauthorized(database: Database, login: Login) -> bool:
    """Clear the suspicion, and the block that came from it. Return whether there was one."""
    with database.transaction() as transaction:
        return _trust(transaction, login)


def standing(database: Database, login: Login) -> LoginState:
    """Return the state of the login."""
    with database.transaction() as transaction:
        row = transaction.fetch_one(_row(login))
    if row is None:
        return LoginState()
    held_for_s = row["held_for_s"] if row["is_held"] else 0.0
    reason = row["refused_reason"] if row["is_held"] else None
    return LoginState(reason, held_for_s, row["doubted_for_s"], row["refused_client"])


def hold(transaction: Transaction, login: Login) -> LoginBlock | None:
    """Return the block that stops portal requests now, None if there is none."""
    row = transaction.fetch_one(
        PortalLogin.select(
            PortalLogin.refused_reason, PortalLogin.refused_until, PortalLogin.refused_client
        )
        .where(PortalLogin.login_key == login.key, _is_refused(login))
        .dicts()
    )
    if row is None:
        return None
    return LoginBlock(row["refused_reason"], row["refused_until"], row["refused_client"])


def troubles(database: Database, login: Login) -> list[str]:
    """Return why the login is blocked now; empty while it is not.

    A block of one client counts if no other client has running jobs.
    """
    with database.transaction() as transaction:
        found = hold(transaction, login)
        if found is None or _has_others(transaction, found.client):
            return []
    return [found.reason]


def _has_others(transaction: Transaction, client: str | None) -> bool:
    """Return whether a client other than `client` has running jobs. None: return False."""
    if client is None:
        return False
    others = ((Job.client < client) | (Job.client > client)) & is_any(Job.state, RUNNING)
    return transaction.fetch_one(Job.select(Job.job_id).where(others).limit(1).tuples()) is not None


def _is_refused(login: Login) -> Any:
    return (PortalLogin.refused_fingerprint == login.fingerprint) & (
        PortalLogin.refused_until > fn.clock_timestamp()
    )


def _seconds(interval: Any) -> Any:
    return fn.date_part("epoch", interval)


def _row(login: Login) -> Any:
    """Return the query for the row of a login with the values that follow from it now."""
    now = fn.clock_timestamp()
    return (
        PortalLogin.select(
            PortalLogin,
            fn.coalesce(_is_refused(login), SQL("false")).alias("is_held"),
            _seconds(PortalLogin.refused_until - now).alias("held_for_s"),
            _seconds(PortalLogin.access_refresh_time - now).alias("fresh_for_s"),
            _seconds(PortalLogin.access_expires_time - now).alias("good_for_s"),
            _seconds(now - PortalLogin.doubt_time).alias("doubted_for_s"),
            fn.coalesce(PortalLogin.lease_until > now, SQL("false")).alias("is_leased"),
            fn.coalesce(_seconds(PortalLogin.next_login_time - now), 0.0).alias("wait_s"),
        )
        .where(PortalLogin.login_key == login.key)
        .dicts()
    )


def _locked(transaction: Transaction, login: Login) -> Row:
    row: Row | None = transaction.fetch_one(_row(login).for_update())
    if row is None:
        transaction.execute(PortalLogin.insert(login_key=login.key).on_conflict_ignore())
        return _locked(transaction, login)
    return row


def _lease(transaction: Transaction, login: Login, attempt: Attempt, interval_s: float) -> None:
    transaction.execute(
        PortalLogin.update(
            lease=attempt.lease,
            lease_until=time_after(LEASE_S),
            next_login_time=time_after(interval_s),
        ).where(PortalLogin.login_key == login.key)
    )


def _refusal(login: Login, why: str, client: str | None = None) -> dict[str, Any]:
    return {
        "refused_until": time_after(REFUSED_S),
        "refused_fingerprint": login.fingerprint,
        "refused_reason": why,
        "refused_client": client,
    }


def _forgiven() -> dict[str, Any]:
    """Return the changes that end a block, unless the block came from a suspicion.

    Such a block outlives a login, because it is not clear yet whether the portal accepts the token.
    """
    is_doubted = PortalLogin.doubtful_case.is_null(False)
    return {name: Case(None, [(is_doubted, getattr(PortalLogin, name))]) for name in _NO_REFUSAL}


def _trust(transaction: Transaction, login: Login) -> bool:
    touched = transaction.execute(
        PortalLogin.update(**_NO_DOUBT, **_NO_REFUSAL).where(
            PortalLogin.login_key == login.key, PortalLogin.doubtful_case.is_null(False)
        )
    )
    return touched > 0


def _token(row: Row, cipher: Cipher) -> Token | None:
    access_token = _decrypted(row["access_token"], cipher)
    return Token(access_token, row["fresh_for_s"], row["good_for_s"]) if access_token else None


def _decrypted(sealed: str | None, cipher: Cipher) -> str | None:
    return None if sealed is None else cipher.decrypt(sealed)


def _is_unreadable(row: Row, cipher: Cipher) -> bool:
    sealed = [row[name] for name in ("access_token", "refresh_token") if row[name] is not None]
    return any(cipher.decrypt(each) is None for each in sealed)
