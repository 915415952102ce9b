"""The row of a login, read with what follows from it now, and changes that several steps make."""

from __future__ import annotations

from typing import Any

from peewee import SQL, fn

from storage.login.login_values import Login
from storage.models import PortalLogin
from storage.models.base import time_after
from storage.postgres.database import Row, Transaction

# Seconds for which a login stays blocked, unless the credentials change.
REFUSED_S = 900

NO_REFUSAL = {
    "refused_until": None,
    "refused_fingerprint": None,
    "refused_reason": None,
    "refused_client": None,
}
NO_DOUBT = {"doubtful_case": None, "doubtful_client": None, "doubt_time": None}


def is_refused(login: Login) -> Any:
    return (PortalLogin.refused_fingerprint == login.fingerprint) & (
        PortalLogin.refused_until > fn.clock_timestamp()
    )


def _seconds(interval: Any) -> Any:
    return fn.date_part("epoch", interval)


def login_row(login: Login) -> Any:
    """Return the query for the row of a login with the values that follow from it now."""
    now = fn.clock_timestamp()
    return (
        PortalLogin.select(
            PortalLogin,
            fn.coalesce(is_refused(login), SQL("false")).alias("is_held"),
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


def locked_row(transaction: Transaction, login: Login) -> Row:
    row: Row | None = transaction.fetch_one(login_row(login).for_update())
    if row is None:
        transaction.execute(PortalLogin.insert(login_key=login.key).on_conflict_ignore())
        return locked_row(transaction, login)
    return row


def refusal(login: Login, why: str, client: str | None = None) -> dict[str, Any]:
    return {
        "refused_until": time_after(REFUSED_S),
        "refused_fingerprint": login.fingerprint,
        "refused_reason": why,
        "refused_client": client,
    }
