"""The row of a login, and its blocks while the portal refuses it: of one client, or of all.

A blocked login is blocked for all processes. Times are the database's.
"""

from __future__ import annotations

from typing import Any

from peewee import SQL, fn

from storage.login.login_values import Evidence, Login, LoginBlock, LoginState
from storage.models import Job, PortalLogin
from storage.models.base import is_any, time_after
from storage.models.job import RUNNING
from storage.postgres.database import Database, Row, Transaction

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


def block_if_rejected(
    database: Database, login: Login, why: str, client: str | None = None
) -> bool:
    """Block the login for `client`, or for all if None. Return whether it was not blocked before.

    A block of one client becomes one of all if it has another client now.
    """
    with database.transaction() as transaction:
        row = locked_row(transaction, login)
        if row["is_held"] and row["refused_client"] in (None, client):
            return False
        transaction.execute(
            PortalLogin.update(refusal(login, why, None if row["is_held"] else client)).where(
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
        row = locked_row(transaction, login)
        if row["is_held"] and row["refused_client"] is None:
            return Evidence.OF_SEVERAL
        if row["doubtful_case"] and good_s_ago is not None and good_s_ago < row["doubted_for_s"]:
            _trust(transaction, login)
            row = locked_row(transaction, login)
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
    with database.autocommit() as transaction:
        row = transaction.fetch_one(login_row(login))
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
        .where(PortalLogin.login_key == login.key, is_refused(login))
        .dicts()
    )
    if row is None:
        return None
    return LoginBlock(row["refused_reason"], row["refused_until"], row["refused_client"])


def troubles(database: Database, login: Login) -> list[str]:
    """Return why the login is blocked now; empty while it is not.

    A block of one client counts if no other client has running jobs.
    """
    with database.autocommit() as transaction:
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


def _trust(transaction: Transaction, login: Login) -> bool:
    touched = transaction.execute(
        PortalLogin.update(**NO_DOUBT, **NO_REFUSAL).where(
            PortalLogin.login_key == login.key, PortalLogin.doubtful_case.is_null(False)
        )
    )
    return touched > 0
