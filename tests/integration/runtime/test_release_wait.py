"""Test that a process that waits for the release ends if PostgreSQL refuses its settings."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from structlog.testing import capture_logs

from dev.embedded.embedded_servers import EmbeddedServers
from storage.errors import ConfigurationError
from storage.health.release_wait import await_release, missing_part
from storage.objects import installation
from storage.postgres.database import Database
from tests.acceptance.deploy.deployment import DEADLINE_S, started
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.integration.harness import factories

SOCKET = ".s.PGSQL.5432"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"path": "/nowhere"}, "3D000"), ({"netloc": "unknown:secret@"}, "28000")],
)
def test_a_refused_session_ends_the_wait(
    database_url: str, change: dict[str, str], code: str
) -> None:
    url = urlsplit(database_url)._replace(**change).geturl()

    with pytest.raises(ConfigurationError, match=f"^DATABASE_URL: .* session: {code} ") as raised:
        await_release(url)

    assert "secret" not in str(raised.value)


def test_a_defect_ends_the_wait_and_the_process_does_not_begin(
    database: Database, database_url: str
) -> None:
    column = "ALTER TABLE schema_migration RENAME COLUMN {} TO {}"
    factories.execute(database, column.format("name", "another"))
    try:
        with capture_logs() as lines, pytest.raises(ConfigurationError, match="cannot be read"):
            await_release(database_url)
    finally:
        factories.execute(database, column.format("another", "name"))
    assert [line["log_level"] for line in lines] == ["error"]


def test_no_process_begins_with_sessions_of_another_isolation_level(database_url: str) -> None:
    other = f"{database_url}&options=-c%20default_transaction_isolation%3Dserializable"
    for url, missing in ((other, True), (database_url, False)):
        with closing(Database(url, max_connections=1)) as database:
            installation.ensure(database)
            found = missing_part(database)
        assert ("misread values" in (found or "")) is missing


def test_a_process_that_waits_for_postgres_ends_with_the_sentence_of_its_refusal(
    servers: EmbeddedServers, redis_url: str, objects: object, tmp_path: Path
) -> None:
    # Given a process that PostgreSQL does not answer at its start
    real = parse_qs(urlsplit(servers.env["DATABASE_URL"]).query)["host"][0]
    env = {
        **os.environ,
        **servers.env,
        "DATABASE_URL": f"postgresql://postgres:@/nowhere?host={quote(str(tmp_path))}",
        "REDIS_URL": redis_url,
        "S3_BUCKET": "integration",
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "LOG_FORMAT": "text",
    }
    with started([sys.executable, "-m", "actors", "scheduler"], env) as program:
        program.await_text("waiting")

        # When PostgreSQL answers that there is no such database
        (tmp_path / SOCKET).symlink_to(Path(real) / SOCKET)

        # Then the process ends
        assert program.process.wait(DEADLINE_S) == 1
        program.await_text("autos scheduler: DATABASE_URL: PostgreSQL refuses session: 3D000 (")

    assert "Traceback" not in program.text
