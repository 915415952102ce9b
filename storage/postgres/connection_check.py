"""One connection to PostgreSQL at the start of a process."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from storage.postgres.database import CONNECTION
from storage.postgres.postgres_errors import connection_failure, readable_answers


def ask(url: str) -> int:
    """Connect once. Return the server's version, such as 150018 for 15.18.

    Raises ServiceRefused with PostgreSQL's own code, ServiceUnavailable.
    """
    try:
        with readable_answers():
            session = psycopg2.connect(**CONNECTION | psycopg2.extensions.parse_dsn(url))
        with closing(session) as connection:
            return int(connection.server_version)
    except psycopg2.OperationalError as error:
        raise connection_failure(error) from error
