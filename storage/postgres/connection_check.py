"""One connection to PostgreSQL at the start of a process."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import psycopg2

from storage.postgres.database import CONNECTION
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


def ask(url: str) -> Session:
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
