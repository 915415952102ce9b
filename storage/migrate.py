"""Brings the database to the present schema, once, whoever else tries at the same moment."""

from __future__ import annotations

from pathlib import Path

from playhouse.migrations import Runner

from storage import functions, sql, steps
from storage.database import Database
from storage.errors import ConfigurationError

FOLDER = Path(__file__).with_name("migrations")
# Any constant will do, as long as nothing else of ours uses it: "auto" in ASCII.
ADVISORY_LOCK = 0x6175746F
# The first migration of the first edition, whose databases cannot be brought forward.
FIRST_EDITION = "0001_initial"


def migrate(database: Database) -> list[str]:
    """Apply what is missing. Return the names of the migrations that were applied now.

    Raises ConfigurationError for a database of the first edition, and leaves it as it is.
    """
    with database.raw() as db:
        # playhouse's runner takes no lock, and two releases may start together.
        db.execute_sql("SET statement_timeout = 0")  # waits for the other, and may take long
        db.execute_sql("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        try:
            runner = Runner(db, directory=str(FOLDER))
            _refuse_first_edition(runner)
            applied = list(runner.up())
            functions.install(db, *steps.ALL)
            sql.install(db)
            return applied
        finally:
            db.execute_sql("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK,))


def _refuse_first_edition(runner: Runner) -> None:
    if FIRST_EDITION in runner.applied():
        raise ConfigurationError(
            "The database holds the tables of the first edition of Autos, which this edition cannot"
            " migrate: set DATABASE_URL to an empty database and run the release again."
        )
