"""Test that an error of PostgreSQL differs from an outage, and is logged once with its text."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from contextlib import closing
from threading import Thread
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import psycopg2
import pytest
from psycopg2 import sql
from structlog.testing import capture_logs

from dev.embedded.embedded_servers import EmbeddedServers
from storage.errors import ConfigurationError, ServiceRefused, ServiceUnavailable
from storage.postgres import session_settings
from storage.postgres.database import STATEMENT_QUIET_S, Database
from storage.postgres.migrate import migrate
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database


def _ask(url: str, statement: str = "SELECT") -> ServiceUnavailable:
    with closing(Database(url, max_connections=1)) as database:
        with pytest.raises(ServiceUnavailable) as refused, database.autocommit() as transaction:
            transaction.one(statement)
        return refused.value


def test_a_database_that_is_not_there_is_a_refusal(servers: EmbeddedServers) -> None:
    url = urlsplit(servers.env["DATABASE_URL"])._replace(path="/nowhere").geturl()

    with capture_logs() as lines:
        error = _ask(url)

    assert isinstance(error, ServiceRefused)
    assert 'database "nowhere" does not exist' in error.answer
    assert "nowhere" not in str(error), "callers see this text"
    assert [(line["event"], line["code"]) for line in lines] == [("part refuses", "3D000")]


def test_a_server_without_the_required_tls_is_a_rejection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_answers_no_tls, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        error = _ask(f"postgresql://any:secret@127.0.0.1:{port}/any?sslmode=require")

    assert isinstance(error, ServiceRefused)
    assert "SSL" in error.answer


def _answers_no_tls(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.recv(8)
        peer.sendall(b"N")


def test_a_server_that_is_not_there_is_away() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://any:secret@127.0.0.1:{free.getsockname()[1]}/any"
        with capture_logs() as lines:
            error = _ask(url)

    assert not isinstance(error, ServiceRefused)
    assert "refused" in error.answer
    assert "secret" not in str(lines)
    assert [line["event"] for line in lines] == ["part is unavailable"]


def test_what_fails_again_and_again_is_logged_once_although_other_statements_succeed(
    direct_url: str,
) -> None:
    seconds = [0.0]
    database = Database(direct_url, max_connections=1, clock=lambda: seconds[0])
    with closing(database), capture_logs() as lines:
        for number in range(3):
            for text in ("SELECT FROM not_there", "SELECT FROM nor_there", FULL.format(number)):
                with pytest.raises(ServiceUnavailable), database.autocommit() as transaction:
                    transaction.run(text)
            with database.autocommit() as transaction:
                transaction.one("SELECT")
        seconds[0] += 2 * STATEMENT_QUIET_S
        with database.autocommit() as transaction:
            transaction.one("SELECT")

    refused, over = "part refuses", "part answers again"
    assert [(line["event"], line.get("code")) for line in lines] == [
        *((refused, code) for code in ("42P01", "42P01", "53100")),
        *((over, None) for _ in range(3)),
    ]
    assert lines[2]["answer"] == "file 0 is full"


FULL = "DO $$BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'file {} is full'; END$$"


@pytest.mark.parametrize(
    ("state", "is_refused"),
    [
        *((state, True) for state in ("XX001", "XX002", "42P01", "42883")),
        *((state, False) for state in ("53300", "25P03", "25P04", "57P01", "08P01")),
    ],
)
def test_a_fault_of_the_server_or_its_schema_is_no_bug(
    database: Database, state: str, *, is_refused: bool
) -> None:
    with pytest.raises(ServiceUnavailable) as failed, database.autocommit() as transaction:
        transaction.run(f"DO $$BEGIN RAISE SQLSTATE '{state}' USING MESSAGE = 'text'; END$$")
    assert (failed.value.code, isinstance(failed.value, ServiceRefused)) == (state, is_refused)
    assert failed.value.answer.startswith("text")


def test_a_missing_part_of_the_schema_is_reported_with_the_remedy(database: Database) -> None:
    with pytest.raises(ServiceRefused) as refused, database.autocommit() as transaction:
        transaction.run("SELECT FROM not_there")
    assert refused.value.answer == (
        'relation "not_there" does not exist; if no restore is under way, run'
        " `python -m storage.release`"
    )


def test_a_session_that_ends_in_a_transaction_keeps_its_first_error(database: Database) -> None:
    with pytest.raises(ServiceUnavailable) as ended, database.transaction() as transaction:
        # The session ends in the statement, and the rollback fails in its turn.
        transaction.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert ended.value.answer.startswith(
        ("server closed the connection", "terminating connection due to administrator command")
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_refusal_before_the_session_is_read_in_every_encoding(encoding: str) -> None:
    text = "autenticação do tipo senha falhou"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_answers, args=(listener, text.encode(encoding)), daemon=True).start()
        url = f"postgresql://any:secret@127.0.0.1:{listener.getsockname()[1]}/any?sslmode=disable"
        errors = [_ask(url), _session_failure(url)]

    for error in errors:
        assert isinstance(error, ServiceRefused)
        assert error.answer.endswith(f"FATAL: {text}")


def _session_failure(url: str) -> ServiceUnavailable:
    with pytest.raises(ServiceUnavailable) as failed:
        session_settings.reported_session(url)
    return failed.value


def _answers(listener: socket.socket, text: bytes) -> None:
    fields = b"SFATAL\0VFATAL\0C28P01\0M" + text + b"\0\0"
    for _ in range(2):
        peer, _ = listener.accept()
        with peer:
            peer.recv(1024)
            peer.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)


def test_what_a_role_may_not_do_is_a_refusal_and_no_bug(
    servers: EmbeddedServers, database_url: str
) -> None:
    role, parts = f"r{uuid4().hex}", urlsplit(database_url)
    with closing(psycopg2.connect(servers.env["DATABASE_URL"])) as connection:
        connection.autocommit = True
        rows = connection.cursor()
        rows.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(role)))
        host = parts.netloc.rpartition("@")[2]
        url = parts._replace(netloc=f"{role}:p@{host}").geturl()
        try:
            error = _ask(url, "SELECT job_id FROM jobs")
        finally:
            rows.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))

    assert isinstance(error, ServiceRefused)
    assert error.code == "42501"


def test_release_refuses_an_encoding_that_cannot_hold_every_text(servers: EmbeddedServers) -> None:
    name = "ascii_only"
    with closing(psycopg2.connect(servers.env["DATABASE_URL"])) as connection:
        connection.autocommit = True
        rows = connection.cursor()
        rows.execute(f"DROP DATABASE IF EXISTS {name}")
        rows.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
            " TEMPLATE template0"
        )

    code, printed = _release(
        servers, urlsplit(servers.env["DATABASE_URL"])._replace(path=f"/{name}")
    )

    assert code == 1
    assert printed.startswith(
        "autos release: DATABASE_URL: the encoding of the database is SQL_ASCII"
    )


@pytest.mark.parametrize("by", ["url", "environment"])
def test_release_refuses_sessions_that_cannot_hold_every_text(
    servers: EmbeddedServers, by: str
) -> None:
    url, env = urlsplit(create_database(servers.env["DATABASE_URL"], "latin_sessions")), {}
    if by == "url":
        url = url._replace(query="&".join(filter(None, (url.query, "client_encoding=latin1"))))
    else:
        env = {"PGCLIENTENCODING": "LATIN1"}

    code, printed = _release(servers, url, **env)

    assert code == 1
    assert printed.startswith("autos release: DATABASE_URL: its sessions have the encoding LATIN1")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DROP SCHEMA public CASCADE", "no schema has been selected to create in"),
        ("CREATE TABLE jobs (id int)", 'relation "jobs" already exists'),
    ],
)
def test_release_reports_why_it_cannot_migrate_a_database(
    servers: EmbeddedServers, statement: str, text: str
) -> None:
    url = create_database(servers.env["DATABASE_URL"], "not_migrated")
    with closing(psycopg2.connect(url)) as connection:
        connection.cursor().execute(statement)
        connection.commit()

    database = Database(url, max_connections=1)
    with closing(database), pytest.raises(ConfigurationError) as problem:
        migrate(database)
    assert str(problem.value) == f"DATABASE_URL: the database cannot be migrated: {text}."


def test_release_reports_what_the_store_rejects(servers: EmbeddedServers) -> None:
    url = urlsplit(create_database(servers.env["DATABASE_URL"], "store_refuses"))

    code, printed = _release(servers, url, S3_SECRET_ACCESS_KEY="wrong" * 8)

    assert code == 1
    assert printed.splitlines()[-1].startswith("autos release: S3_SECRET_ACCESS_KEY: S3 refuses ")
    assert "SignatureDoesNotMatch" in printed


def _release(servers: EmbeddedServers, url: SplitResult, **env: str) -> tuple[int, str]:
    settings = {
        **servers.env,
        "DATABASE_URL": url.geturl(),
        "S3_BUCKET": "refused-releases",
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "PATH": os.defpath,
        **env,
    }
    done = subprocess.run(
        [sys.executable, "-m", "storage.release"],
        env=settings,
        capture_output=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stderr.decode()
