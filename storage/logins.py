"""The portal's token in the database: the newest wins, one process at a time gets a newer one,
and a refused login is refused for all.

Times are the database's. No transaction is open while the portal is asked: who logs in holds a
lease. What was got is stored unless somebody has stored something newer, whoever holds the lease
by then, because a refresh token that has been replaced opens nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from storage.ciphers import Cipher, fingerprint
from storage.database import Database, Row, Transaction
from storage.errors import CredentialsRefused
from storage.settings import Settings

# How long a refused login is left alone, unless the credentials change.
REFUSED_S = 900
# A token is refreshed that long before its end, or after half of its life if that is shorter.
MARGIN_S = 60.0
# Above the time that a login may take.
LEASE_S = 30
# A token with less than that left is not sent any more.
GOOD_S = 2.0
FAILURE_CAP_S = 300

IS_REFUSED = (
    "coalesce(refused_fingerprint = %(fingerprint)s AND refused_until > clock_timestamp(), false)"
)
_REFUSE = (
    f"refused_until = clock_timestamp() + {REFUSED_S} * interval '1 second',"
    " refused_fingerprint = %(fingerprint)s, refused_reason = %(why)s"
)
# A hold that came of a doubt outlives a login: whether the portal takes the token is not known yet.
_FORGIVE = ", ".join(
    f"{name} = CASE WHEN doubtful_case IS NOT NULL THEN {name} END"
    for name in ("refused_until", "refused_fingerprint", "refused_reason")
)
_ROW = f"""
SELECT *, {IS_REFUSED} AS is_held,
    extract(epoch FROM refused_until - clock_timestamp())::float8 AS held_for_s,
    extract(epoch FROM access_refresh_time - clock_timestamp())::float8 AS fresh_for_s,
    extract(epoch FROM access_expires_time - clock_timestamp())::float8 AS good_for_s,
    extract(epoch FROM clock_timestamp() - doubt_time)::float8 AS doubted_for_s,
    coalesce(lease_until > clock_timestamp(), false) AS is_leased,
    coalesce(extract(epoch FROM next_login_time - clock_timestamp()), 0)::float8 AS wait_s
FROM logins WHERE login_key = %(key)s
"""


@dataclass(frozen=True, slots=True)
class Login:
    """Which login is configured: its row, and what tells whether the credentials are the same."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, settings: Settings) -> Login:
        """The login of `settings`. Takes a tenth of a second: once per process."""
        token, refresh = settings.pdpj_token or "", settings.pdpj_refresh_token or ""
        if settings.pdpj_token_url is None:
            name = key = f"static {settings.pdpj_base_url}"
        else:
            grant = "refresh_token" if refresh else "client_credentials"
            name = key = f"{grant} {settings.pdpj_token_url} {settings.pdpj_client_id}"
        if token or refresh:
            # A token that the operator has changed begins anew; what descends from another stays
            # with that one. A new client secret or encryption key changes nothing about it.
            key = f"{name} {fingerprint(name, token, refresh)}"
        secret = settings.pdpj_client_secret or ""
        return cls(key, fingerprint(name, token, refresh, secret, *settings.encryption_keys))


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is asked, and until when."""

    reason: str
    until_time: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A token for the portal. Seconds from the moment of the look, negative once they are over."""

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
class Turn:
    """What is to be done for a token.

    With `attempt`: log in. Without: take `token`, or look again, if need be after `wait_s` seconds.
    `token` beside `attempt` is what may be used if the login fails. `is_unreadable`: the row holds
    a token that no key fits.
    """

    token: Token | None
    attempt: Attempt | None = None
    wait_s: float = 0.0
    is_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login gave; `refresh_token` None: the one that was used stays good."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lives_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a login stands: why it is held and for how long, since when it is in doubt."""

    hold_reason: str | None = None
    held_for_s: float = 0.0
    doubted_for_s: float | None = None


def turn(
    database: Database, login: Login, cipher: Cipher, *, refused: str | None, interval_s: float
) -> Turn:
    """What the caller is to do for a token other than `refused`.

    Between two logins lie `interval_s` seconds, whoever makes them. Raises CredentialsRefused.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, login)
        if row["is_held"]:
            raise CredentialsRefused(row["refused_reason"], retry_in_s=row["held_for_s"])
        token = _token(row, cipher)
        if token and (token.access_token == refused or token.good_for_s <= GOOD_S):
            token = None
        if token and token.fresh_for_s > 0:
            return Turn(token)
        if row["is_leased"] or row["wait_s"] > 0:
            return Turn(token, wait_s=max(0.0, row["wait_s"]))
        refresh_token = _decrypted(row["refresh_token"], cipher)
        attempt = Attempt(uuid4(), row["generation"], refresh_token)
        _lease(transaction, login, attempt, interval_s)
        return Turn(token, attempt, is_unreadable=_is_unreadable(row, cipher))


def store(
    database: Database, login: Login, cipher: Cipher, attempt: Attempt, grant: Grant
) -> Token | None:
    """The token of `grant`, kept for everybody; None if somebody has kept a newer one already.

    May be said twice: the second time it is None.
    """
    good_for_s = grant.lives_s
    fresh_for_s = good_for_s - min(MARGIN_S, good_for_s / 2)
    refresh_token = grant.refresh_token
    with database.transaction() as transaction:
        is_newest = transaction.run(
            "UPDATE logins SET generation = generation + 1, access_token = %(access_token)s,"
            " access_refresh_time = clock_timestamp() + %(fresh_for_s)s * interval '1 second',"
            " access_expires_time = clock_timestamp() + %(good_for_s)s * interval '1 second',"
            " refresh_token = %(refresh_token)s, lease = NULL, lease_until = NULL,"
            f" failure_count = 0, {_FORGIVE}"
            " WHERE login_key = %(key)s AND generation = %(generation)s",
            key=login.key,
            generation=attempt.generation,
            access_token=cipher.encrypt(grant.access_token),
            refresh_token=cipher.encrypt(refresh_token) if refresh_token else None,
            fresh_for_s=fresh_for_s,
            good_for_s=good_for_s,
        )
    return Token(grant.access_token, fresh_for_s, good_for_s) if is_newest else None


def failed(
    database: Database, login: Login, attempt: Attempt, *, interval_s: float, pause_s: float | None
) -> None:
    """The login was not answered: the next one waits, longer each time, or `pause_s` if longer."""
    with database.transaction() as transaction:
        transaction.run(
            "UPDATE logins SET lease = NULL, lease_until = NULL, failure_count = failure_count + 1,"
            " next_login_time = clock_timestamp() + interval '1 second' * greatest(%(pause_s)s,"
            f" least({FAILURE_CAP_S}, %(interval_s)s * 2 ^ least(failure_count, 10)))"
            " WHERE login_key = %(key)s AND lease = %(lease)s",
            key=login.key,
            lease=attempt.lease,
            interval_s=interval_s,
            pause_s=pause_s or 0.0,
        )


def refused(database: Database, login: Login, attempt: Attempt, why: str) -> bool:
    """The login was refused: nobody tries again for REFUSED_S seconds. May be said twice.

    False: somebody else tries by now, or was let in, and nothing was changed.
    """
    with database.transaction() as transaction:
        touched = transaction.run(
            "UPDATE logins SET lease = NULL, lease_until = NULL, failure_count = 0,"
            f" doubtful_case = NULL, doubt_time = NULL, {_REFUSE}"
            " WHERE login_key = %(key)s AND generation = %(generation)s"
            " AND (lease = %(lease)s OR lease IS NULL)",
            key=login.key,
            lease=attempt.lease,
            generation=attempt.generation,
            fingerprint=login.fingerprint,
            why=why,
        )
    return touched > 0


def refuse(database: Database, login: Login, why: str) -> bool:
    """Whether the login counts as refused from now on, and did not before."""
    with database.transaction() as transaction:
        if _locked(transaction, login)["is_held"]:
            return False
        transaction.run(
            f"UPDATE logins SET {_REFUSE} WHERE login_key = %(key)s",
            key=login.key,
            fingerprint=login.fingerprint,
            why=why,
        )
        return True


def doubt(
    database: Database, login: Login, process_number: str, *, good_s_ago: float | None
) -> bool:
    """Notes that a case was answered 401. True: it is the second one in a row, or a later one.

    `good_s_ago`: seconds since the last good answer that the caller knows of.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, login)
        if row["is_held"]:
            return True
        if row["doubtful_case"] and good_s_ago is not None and good_s_ago < row["doubted_for_s"]:
            _trust(transaction, login)
            row = _locked(transaction, login)
        if row["doubtful_case"]:
            # After a hold the first 401 is enough, whatever its case.
            return row["refused_until"] is not None or row["doubtful_case"] != process_number
        transaction.run(
            "UPDATE logins SET doubtful_case = %(case)s, doubt_time = clock_timestamp()"
            " WHERE login_key = %(key)s",
            key=login.key,
            case=process_number,
        )
        return False


def trust(database: Database, login: Login) -> bool:
    """Ends the doubt, and the hold that came of it; whether there was any."""
    with database.transaction() as transaction:
        return _trust(transaction, login)


def standing(database: Database, login: Login) -> Standing:
    """How the login stands."""
    with database.transaction() as transaction:
        row = transaction.one(_ROW, key=login.key, fingerprint=login.fingerprint)
    if row is None:
        return Standing()
    held_for_s = row["held_for_s"] if row["is_held"] else 0.0
    reason = row["refused_reason"] if row["is_held"] else None
    return Standing(reason, held_for_s, row["doubted_for_s"])


def hold(transaction: Transaction, login: Login) -> Hold | None:
    """What keeps everything from the portal right now, if the login is refused."""
    row = transaction.one(
        "SELECT refused_reason, refused_until FROM logins"
        f" WHERE login_key = %(key)s AND {IS_REFUSED}",
        key=login.key,
        fingerprint=login.fingerprint,
    )
    return Hold(row["refused_reason"], row["refused_until"]) if row else None


def held(transaction: Transaction, login: Login) -> bool:
    """Whether nothing may be asked right now, because the login is refused."""
    return hold(transaction, login) is not None


def is_refused(database: Database, login: Login) -> bool:
    """The same, in a transaction of its own."""
    return bool(troubles(database, login))


def troubles(database: Database, login: Login) -> list[str]:
    """Why the login is refused right now; empty while it is not."""
    with database.transaction() as transaction:
        found = hold(transaction, login)
    return [found.reason] if found else []


def _locked(transaction: Transaction, login: Login) -> Row:
    values = {"key": login.key, "fingerprint": login.fingerprint}
    row = transaction.one(f"{_ROW} FOR UPDATE", **values)
    if row is None:
        transaction.run(
            "INSERT INTO logins (login_key) VALUES (%(key)s) ON CONFLICT DO NOTHING", key=login.key
        )
        row = transaction.only(f"{_ROW} FOR UPDATE", **values)
    return row


def _lease(transaction: Transaction, login: Login, attempt: Attempt, interval_s: float) -> None:
    transaction.run(
        "UPDATE logins SET lease = %(lease)s,"
        f" lease_until = clock_timestamp() + {LEASE_S} * interval '1 second',"
        " next_login_time = clock_timestamp() + %(interval_s)s * interval '1 second'"
        " WHERE login_key = %(key)s",
        key=login.key,
        lease=attempt.lease,
        interval_s=interval_s,
    )


def _trust(transaction: Transaction, login: Login) -> bool:
    touched = transaction.run(
        "UPDATE logins SET doubtful_case = NULL, doubt_time = NULL, refused_until = NULL,"
        " refused_fingerprint = NULL, refused_reason = NULL"
        " WHERE login_key = %(key)s AND doubtful_case IS NOT NULL",
        key=login.key,
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
