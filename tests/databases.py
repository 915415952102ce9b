"""Create databases on the suite's PostgreSQL, so that tests do not see each other's rows."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg2

# For a connection of a test that holds a lock without a time limit.
PATIENT = "-c idle_in_transaction_session_timeout=0"


def create_database(server_url: str, name: str, *, template: str = "template1") -> str:
    """Create database `name` and return its URL; an existing one is replaced."""
    with closing(psycopg2.connect(server_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return database_url(server_url, name)


def database_url(server_url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    parts = urlsplit(server_url)
    return urlunsplit(parts._replace(path=f"/{name}", netloc=parts.netloc))
