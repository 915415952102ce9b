"""Migrate the database to the current schema, once, even if several releases run together."""

from __future__ import annotations

from pathlib import Path

import peewee
from peewee import fn
from playhouse.migrations import Runner

from storage import sql
from storage.errors import ConfigurationError, ServiceRefused
from storage.postgres import session_settings
from storage.postgres.database import Database, Transaction
from storage.postgres.postgres_errors import UNDEFINED

FOLDER = Path(__file__).parents[1] / "migrations"
# An arbitrary constant that no other lock of Autos uses: "auto" in ASCII.
ADVISORY_LOCK = 0x6175746F
# The first migrations of the earlier editions. Their databases cannot be migrated.
EARLIER_EDITIONS = {"0001_initial", "0001_tables"}


def migrate(database: Database) -> list[str]:
    """Apply the missing migrations, all or none. Return the names of those applied now.

    Raises ConfigurationError for a database of an earlier edition or of another program, and if the
    role may not change the settings that its sessions need.
    """
    try:
        return _migrated(database)
    except ServiceRefused as error:
        if error.code not in UNDEFINED:
            raise
        # For example, the role has no schema.
        raise _not_migrated(error.__cause__ or error) from error
    except peewee.PeeweeException as error:
        # For example, there is a table of another program with a name of Autos.
        raise _not_migrated(error) from error


def _not_migrated(error: BaseException) -> ConfigurationError:
    first, *_ = str(error).splitlines()
    return ConfigurationError(f"DATABASE_URL: the database cannot be migrated: {first}.")


def _migrated(database: Database) -> list[str]:
    # One transaction: its lock ends with it, whichever session a pooler gives it.
    with database.raw() as db, db.atomic():
        transaction = Transaction(db)
        # It waits for the other release, and may take long.
        session_settings.free(transaction)
        # playhouse's runner takes no lock, and two releases may start together.
        transaction.value(fn.pg_advisory_xact_lock(ADVISORY_LOCK))
        runner = Runner(db, directory=str(FOLDER))
        _refuse_earlier_edition(runner)
        applied = list(runner.up())
        sql.install(db)
        session_settings.install(db)
        return applied


def is_migrated(database: Database) -> bool:
    """Return whether the database has the tables and functions of this version, or of a later one.

    Raises ServiceUnavailable.
    """
    with database.raw() as db:
        runner = Runner(db, directory=str(FOLDER))
        if not {each.name for each in runner.migrations()} <= set(runner.applied()):
            return False
        return sql.is_installed(db)


def _refuse_earlier_edition(runner: Runner) -> None:
    if EARLIER_EDITIONS.intersection(runner.applied()):
        raise ConfigurationError(
            "The database holds the tables of an earlier edition of Autos, which this edition"
            " cannot migrate: set DATABASE_URL to an empty database and run the release again."
        )
