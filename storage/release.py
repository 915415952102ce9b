"""`python -m storage.release`: what is done once before a release's processes start.

Migrates the database and makes the bucket. Safe to run twice and by two at once.
"""

from __future__ import annotations

import os
import sys

import structlog

from storage import logs
from storage.database import Database
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.migrate import migrate
from storage.objects import Objects, ObjectStore
from storage.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def release(settings: Settings) -> None:
    """Brings database and bucket to what this release needs. Raises ServiceUnavailable."""
    database = Database(settings.database_url, max_connections=1)
    applied = migrate(database)
    database.close()
    made = Objects(ObjectStore.of(settings), max_connections=1).ensure_bucket()
    log.info("released", migrations=applied, bucket_made=made)


def main() -> int:
    """The exit code: 0 when all is ready, 1 with one sentence when it is not."""
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_format, process="release")
        release(settings)
    except (ConfigurationError, ServiceUnavailable) as error:
        print(f"autos release: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
