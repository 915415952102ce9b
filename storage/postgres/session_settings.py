"""The settings that every session with PostgreSQL needs, kept by PostgreSQL itself.

They belong to the role in its database. A session has them from its first statement, also behind a
pooler that hands out another session for each transaction and refuses settings at the start of a
connection.
"""

from __future__ import annotations

from typing import Any

import peewee
import structlog

from storage import sql
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# jit: compiling a claim takes seconds. The timeouts: a frozen process must not hold a job's lock
# for ever, nor a lost statement a connection. Another value that bounds the time will do as well.
SETTINGS = {
    "jit": "off",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "10s",
}
# What each of them is where nothing was set.
_UNSET = ("on", "0")


def install(db: Any) -> list[str]:
    """Gives the role of peewee's `db`, in its database, what its sessions lack; the names of that.

    The caller holds a transaction and a lock: PostgreSQL refuses two that do this at once.
    Raises ConfigurationError, with the statements that are needed, if the role may not do it.
    """
    missing = _missing(db)
    statements = list(missing.values())
    for statement in statements:
        try:
            with db.atomic():
                db.execute_sql(statement)
        except (peewee.ProgrammingError, peewee.InternalError, peewee.NotSupportedError) as error:
            raise ConfigurationError(
                "DATABASE_URL: its role may not set what its sessions need; "
                f"have an administrator run: {'; '.join(statements)};"
            ) from error
    return list(missing)


def missing(database: Database) -> list[str]:
    """The settings that a session of `database` lacks. Raises ServiceUnavailable."""
    with database.raw() as db:
        return list(_missing(db))


def _missing(db: Any) -> dict[str, str]:
    """Return the statement that sets it, for each setting that the session lacks."""
    values = {"names": list(SETTINGS), "values": list(SETTINGS.values()), "unset": list(_UNSET)}
    return dict(db.execute_sql(sql.statement("missing_settings"), values).fetchall())


def log_missing(database: Database) -> bool:
    """Logs one sentence if a session of `database` lacks settings. False: PostgreSQL is away."""
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
