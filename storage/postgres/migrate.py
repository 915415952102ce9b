"""Brings the database to the present schema, once, whoever else tries at the same moment."""

from __future__ import annotations

from pathlib import Path

from peewee import fn
from playhouse.migrations import Runner

from storage import sql
from storage.errors import ConfigurationError
from storage.postgres import session_settings
from storage.postgres.database import Database, Transaction

FOLDER = Path(__file__).parents[1] / "migrations"
# Any constant will do, as long as nothing else of ours uses it: "auto" in ASCII.
ADVISORY_LOCK = 0x6175746F
# The first migration of the first edition, whose databases cannot be brought forward.
FIRST_EDITION = "0001_initial"


def migrate(database: Database) -> list[str]:
    """Apply what is missing, all of it or nothing. Return the names of the migrations applied now.

    Raises ConfigurationError for a database of the first edition, and when the role may not set
    what its sessions need.
    """
    # One transaction: its lock goes with it, whichever session a pooler gives it.
    with database.raw() as db, db.atomic():
        # It waits for the other, and may take long.
        transaction = Transaction(db)
        transaction.set_local(statement_timeout="0", lock_timeout="0")
        # playhouse's runner takes no lock, and two releases may start together.
        transaction.value(fn.pg_advisory_xact_lock(ADVISORY_LOCK))
        runner = Runner(db, directory=str(FOLDER))
        _refuse_first_edition(runner)
        applied = list(runner.up())
        sql.install(db)
        session_settings.install(db)
        return applied


def _refuse_first_edition(runner: Runner) -> None:
    if FIRST_EDITION in runner.applied():
        raise ConfigurationError(
            "The database holds the tables of the first edition of Autos, which this edition cannot"
            " migrate: set DATABASE_URL to an empty database and run the release again."
        )
