"""The settings that every session with PostgreSQL needs. PostgreSQL itself keeps them.

The settings belong to the role in its database. A session has them from its first statement. That
is also true behind a pooler that assigns a different session to each transaction and refuses
settings at the start of a connection.

One connection at the start of a process shows what its sessions report.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import peewee
import psycopg2
import structlog

from storage import sql
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.postgres.database import CONNECTION, Database, Transaction
from storage.postgres.postgres_errors import connection_failure, readable_answers

UTF8 = "UTF8"


@dataclass(frozen=True, slots=True)
class Session:
    """What a session reports at its start. A pooler may report less: 0, or an empty text.

    `version`: of the server, such as 150018 for 15.18. `kept_encoding`: of the database.
    `sent_encoding`: of the session.
    """

    version: int
    kept_encoding: str
    sent_encoding: str


def reported_session(url: str) -> Session:
    """Connect once. Return what the session reports.

    Raises ServiceRefused with PostgreSQL's own code, ServiceUnavailable.
    """
    try:
        with readable_answers():
            session = psycopg2.connect(**CONNECTION | psycopg2.extensions.parse_dsn(url))
        with closing(session) as connection:
            return Session(
                int(connection.server_version),
                connection.get_parameter_status("server_encoding") or "",
                connection.get_parameter_status("client_encoding") or "",
            )
    except psycopg2.OperationalError as error:
        raise connection_failure(error) from error


def encoding_problem(kept: str, sent: str) -> str:
    """Return why a session cannot store every text; empty if it can, or reports no encoding."""
    if kept not in ("", UTF8):
        return (
            f"DATABASE_URL: the encoding of the database is {kept}, and Autos needs"
            " UTF8. Create it with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
        )
    if sent not in ("", UTF8):
        return (
            f"DATABASE_URL: its sessions have the encoding {sent}, and Autos needs"
            " UTF8. Take client_encoding out of the URL, of PGCLIENTENCODING and of its role."
        )
    return ""


log: structlog.stdlib.BoundLogger = structlog.get_logger()

# jit: the compilation of a claim takes seconds. The timeouts: a frozen process must not hold a
# job's lock for ever, nor a lost statement a connection. Another value that limits the time works
# as well.
SETTINGS = {
    "jit": "off",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "10s",
}
# The values of these settings when nothing was set.
_UNSET = ("on", "0", "0")
# No other value works, and each of these may be set for a role or a database:
# - Every statement must see what was committed before it began: at another isolation level, a sweep
#   would delete an object whose row was committed while it waited.
# - With strings of another kind, the tables would have other CHECKs.
# - Times in another form cannot be read. The driver corrects the form for a session that it opens,
#   but not for one that a pooler assigns later, nor after a reload of the server's settings.
# - With fewer digits, times lose their microseconds. With other encodings, some names are refused.
# - A value that is compared with NULL must not be equal to it.
# - An error that Autos expects must not end the session.
# - Without the triggers of foreign keys, rows of an erased job would stay.
EXACT = {
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, MDY",
    "extra_float_digits": "1",
    "client_encoding": "UTF8",
    "transform_null_equals": "off",
    "exit_on_error": "off",
    "session_replication_role": "origin",
}


# `release` waits for another one, and may take long.
_LIMITS = ("statement_timeout", "lock_timeout", "transaction_timeout")
_SERVER_SETTINGS = peewee.Table("pg_settings")
# By name, because PostgreSQL has the last one since version 17 only.
_UNLIMITED = _SERVER_SETTINGS.select(
    peewee.fn.set_config(_SERVER_SETTINGS.c.name, "0", True)
).where(_SERVER_SETTINGS.c.name << _LIMITS)


def free(transaction: Transaction) -> None:
    """Give a transaction of `release` no time limits and the meaning of its definitions."""
    transaction.fetch(_UNLIMITED.clone())
    transaction.set_local(standard_conforming_strings="on", exit_on_error="off")


def install(db: Any) -> list[str]:
    """Give the role of peewee's `db`, in its database, the missing settings. Return their names.

    The role keeps the settings of EXACT there, whatever is set for the role or for the database
    later. The caller holds a transaction and a lock: PostgreSQL refuses two concurrent changes.
    Raises ConfigurationError, with the statements that are needed, if the role may not change them.
    """
    found = _missing(db, pins=True)
    statements = [statement for _, statement, is_missing in found if is_missing]
    for _, statement, is_missing in found:
        try:
            with db.atomic():
                db.execute_sql(statement)
        except (peewee.ProgrammingError, peewee.InternalError, peewee.NotSupportedError) as error:
            if not is_missing:
                # An administrator has set it for the role, or it is PostgreSQL's default.
                continue
            raise ConfigurationError(
                "DATABASE_URL: its role may not change the settings that its sessions need; "
                f"have an administrator run: {'; '.join(statements)};"
            ) from error
    return [name for name, _, is_missing in found if is_missing]


def missing(database: Database) -> list[str]:
    """Return the settings that a session of `database` lacks. Raises ServiceUnavailable."""
    with database.raw() as db:
        return [name for name, *_ in _missing(db)]


def exactness_problem(database: Database) -> str:
    """Return why no process may work with the sessions of `database`; empty if it may.

    Raises ServiceUnavailable.
    """
    wrong = [f"{name} = {EXACT[name]}" for name in missing(database) if name in EXACT]
    if not wrong:
        return ""
    return (
        f"DATABASE_URL: its sessions lack {'; '.join(wrong)}, without which Autos would lose or"
        " misread values: run `python -m storage.release`, take other values out of the options"
        " of the URL and out of PGOPTIONS, and have a pooler open its sessions anew."
    )


def _missing(db: Any, *, pins: bool = False) -> list[tuple[str, str, bool]]:
    """Return each setting that the session lacks, with the statement that sets it."""
    wanted = SETTINGS | EXACT
    values = {
        "names": list(wanted),
        "values": list(wanted.values()),
        "unset": [*_UNSET, *(None for _ in EXACT)],
        "pins": pins,
    }
    return list(db.execute_sql(sql.statement("missing_settings"), values).fetchall())


def log_missing(database: Database) -> bool:
    """Log one sentence if a session of `database` lacks settings.

    Return False if PostgreSQL is unavailable.
    """
    try:
        names = missing(database)
    except ServiceUnavailable:
        return False
    if names:
        log.warning(
            "PostgreSQL's sessions lack settings that Autos needs: run `python -m storage.release`,"
            " then have a pooler open its sessions anew.",
            missing=names,
        )
    return True
