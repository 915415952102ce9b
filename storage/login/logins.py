"""The portal's token in the database. The newest token wins; one process at a time requests one.

Times are the database's. No transaction is open
during a request to the portal: the process that logs in holds a lease. A new token is stored unless
a newer one is already stored, even if another process holds the lease by then, because a replaced
refresh token is no longer valid.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from peewee import Case, fn

from storage.errors import CredentialsRefused
from storage.login.login_blocks import NO_DOUBT, NO_REFUSAL, locked_row, refusal
from storage.login.login_values import Attempt, Cipher, Grant, Login, Token, TokenDecision
from storage.models import PortalLogin
from storage.models.base import time_after
from storage.postgres.database import Database, Row, Transaction

# A token is refreshed this many seconds before its end, or after half of its life if that is
# shorter.
MARGIN_S = 60.0
# Longer than a login may take, in seconds.
LEASE_S = 30
# A token with less than this many seconds left is not sent any more.
GOOD_S = 2.0
FAILURE_CAP_S = 300

NO_LEASE = {"lease": None, "lease_until": None}


def next_token_action(
    database: Database, login: Login, cipher: Cipher, *, refused: str | None, interval_s: float
) -> TokenDecision:
    """Return the caller's next action for a token other than `refused`.

    Two logins are at least `interval_s` seconds apart, over all processes. Raises
    CredentialsRefused.
    """
    with database.transaction() as transaction:
        row = locked_row(transaction, login)
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
                **NO_LEASE,
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
                **NO_LEASE,
            ).where(PortalLogin.login_key == login.key, PortalLogin.lease == attempt.lease)
        )


def record_rejection(database: Database, login: Login, attempt: Attempt, why: str) -> bool:
    """Record that the login was refused: no process tries again for REFUSED_S seconds. Idempotent.

    Return False if another process is logging in or has logged in since; nothing is changed then.
    """
    with database.transaction() as transaction:
        touched = transaction.execute(
            PortalLogin.update(
                failure_count=0, **NO_LEASE, **NO_DOUBT, **refusal(login, why)
            ).where(
                PortalLogin.login_key == login.key,
                PortalLogin.generation == attempt.generation,
                (PortalLogin.lease == attempt.lease) | PortalLogin.lease.is_null(),
            )
        )
    return touched > 0


def _lease(transaction: Transaction, login: Login, attempt: Attempt, interval_s: float) -> None:
    transaction.execute(
        PortalLogin.update(
            lease=attempt.lease,
            lease_until=time_after(LEASE_S),
            next_login_time=time_after(interval_s),
        ).where(PortalLogin.login_key == login.key)
    )


def _forgiven() -> dict[str, Any]:
    """Return the changes that end a block, unless the block came from a suspicion.

    Such a block outlives a login, because it is not clear yet whether the portal accepts the token.
    """
    is_doubted = PortalLogin.doubtful_case.is_null(False)
    return {name: Case(None, [(is_doubted, getattr(PortalLogin, name))]) for name in NO_REFUSAL}


def _token(row: Row, cipher: Cipher) -> Token | None:
    access_token = _decrypted(row["access_token"], cipher)
    return Token(access_token, row["fresh_for_s"], row["good_for_s"]) if access_token else None


def _decrypted(sealed: str | None, cipher: Cipher) -> str | None:
    return None if sealed is None else cipher.decrypt(sealed)


def _is_unreadable(row: Row, cipher: Cipher) -> bool:
    sealed = [row[name] for name in ("access_token", "refresh_token") if row[name] is not None]
    return any(cipher.decrypt(each) is None for each in sealed)
