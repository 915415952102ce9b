"""Brings the database to the present schema, once, whoever else tries at the same moment."""

from __future__ import annotations

from pathlib import Path

from playhouse.migrations import Runner

from storage import functions, listing_claims, sql, starts, steps
from storage.database import Database

FOLDER = Path(__file__).with_name("migrations")
# Any constant will do, as long as nothing else of ours uses it: "auto" in ASCII.
ADVISORY_LOCK = 0x6175746F


def migrate(database: Database) -> list[str]:
    """The names of the migrations that were applied now; empty when there was nothing to do."""
    with database.raw() as db:
        # playhouse's runner takes no lock, and two releases may start together.
        db.execute_sql("SET statement_timeout = 0")  # waits for the other, and may take long
        db.execute_sql("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        try:
            applied = list(Runner(db, directory=str(FOLDER)).up())
            functions.install(db, *steps.ALL, listing_claims.LISTED, starts.START)
            sql.install(db)
            return applied
        finally:
            db.execute_sql("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK,))
