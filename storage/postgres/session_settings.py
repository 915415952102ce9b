"""The settings that every session with PostgreSQL needs. PostgreSQL itself keeps them.

The settings belong to the role in its database. A session has them from its first statement. That
is also true behind a pooler that assigns a different session to each transaction and refuses
settings at the start of a connection.
"""

from __future__ import annotations

from typing import Any

import peewee
import structlog

from storage import sql
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.postgres.database import Database

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
_UNSET = ("on", "0")


def install(db: Any) -> list[str]:
    """Give the role of peewee's `db`, in its database, the missing settings. Return their names.

    The caller holds a transaction and a lock: PostgreSQL refuses two concurrent changes. Raises
    ConfigurationError, with the statements that are needed, if the role may not change them.
    """
    missing = _missing(db)
    statements = list(missing.values())
    for statement in statements:
        try:
            with db.atomic():
                db.execute_sql(statement)
        except (peewee.ProgrammingError, peewee.InternalError, peewee.NotSupportedError) as error:
            raise ConfigurationError(
                "DATABASE_URL: its role may not change the settings that its sessions need; "
                f"have an administrator run: {'; '.join(statements)};"
            ) from error
    return list(missing)


def missing(database: Database) -> list[str]:
    """Return the settings that a session of `database` lacks. Raises ServiceUnavailable."""
    with database.raw() as db:
        return list(_missing(db))


def _missing(db: Any) -> dict[str, str]:
    """Return, for each setting that the session lacks, the statement that sets it."""
    values = {"names": list(SETTINGS), "values": list(SETTINGS.values()), "unset": list(_UNSET)}
    return dict(db.execute_sql(sql.statement("missing_settings"), values).fetchall())


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
