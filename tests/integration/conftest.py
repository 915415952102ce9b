"""Give each test a database, a bucket, a Redis and a spool on the suite's real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis

from dev.embedded.embedded_servers import EmbeddedServers
from dev.processes.deadline import until
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from storage.spool import Spool
from tests.databases import create_database
from tests.databases import database_url as database_url_of
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline
from tests.pooling.pooler import Pooler

TEMPLATE = "template_autos"
# The acceptance tests' processes use another one.
REDIS_DATABASE = 7
THREADS = 40
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname"

_numbers = itertools.count(1)


class Databases:
    """Migrated databases without rows. After a test its database is emptied and reused."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        template = Database(create_database(server_url, TEMPLATE), max_connections=1)
        migrate(template)
        template.close()
        self._spare: list[str] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """Yield the URL of a database that no other test uses. A deadlock in it is an error."""
        name = self._spare.pop() if self._spare else self._new()
        with closing(psycopg2.connect(self._server_url)) as connection:
            connection.autocommit = True
            before = _ask(connection, DEADLOCKS, name)
            yield database_url_of(self._server_url, name)
            _await_last_session(connection, name)
            deadlocks = _ask(connection, DEADLOCKS, name) - before
        assert deadlocks == 0, "PostgreSQL had to break a deadlock"
        self._empty(name)
        self._spare.append(name)

    def _new(self) -> str:
        name = f"test_{next(_numbers)}"
        url = create_database(self._server_url, name, template=TEMPLATE)
        # CREATE DATABASE does not copy the settings of a role in the template.
        with closing(Database(url, max_connections=1)) as database:
            migrate(database)
        return name

    def _empty(self, name: str) -> None:
        url = database_url_of(self._server_url, name)
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as rows:
            # The tables may come in any order.
            rows.execute("SET session_replication_role = replica")
            rows.execute(
                "SELECT relname FROM pg_stat_user_tables WHERE relname <> 'schema_migration'"
            )
            for (table,) in rows.fetchall():
                rows.execute(f'DELETE FROM "{table}"')
            rows.execute("INSERT INTO portal DEFAULT VALUES")
            rows.execute("INSERT INTO leader DEFAULT VALUES")


@pytest.fixture(scope="session")
def databases(servers: EmbeddedServers) -> Databases:
    """Return the databases of the suite's PostgreSQL."""
    return Databases(servers.env["DATABASE_URL"])


def _await_last_session(connection: psycopg2.extensions.connection, name: str) -> None:
    # A session reports its statistics when it ends.
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname"
    until(lambda: _ask(connection, sessions, name) == 0, 60, f"{name} is still in use")


def _ask(connection: psycopg2.extensions.connection, select: str, name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"{select} = %s", [name])
        (number,) = cursor.fetchone() or (0,)
    return int(number)


@pytest.fixture
def direct_url(databases: Databases) -> Iterator[str]:
    """Yield the URL of this test's own migrated database."""
    with databases.one() as url:
        yield url


@pytest.fixture
def database_url(direct_url: str, pytestconfig: pytest.Config) -> Iterator[str]:
    """Yield the same URL; with `--pooled` a pooler's, where tests may leave no session state."""
    if not pytestconfig.getoption("pooled"):
        yield direct_url
        return
    with Pooler(direct_url) as pooler:
        yield pooler.url(direct_url)
        assert pooler.left == []


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield the test's database, for up to THREADS threads."""
    database = Database(database_url, max_connections=THREADS)
    yield database
    database.close()


@pytest.fixture(scope="session")
def store(servers: EmbeddedServers) -> ObjectStore:
    """Return the settings of the integration tests' bucket."""
    env = servers.env
    return ObjectStore(
        endpoint_url=env["S3_ENDPOINT_URL"],
        public_url=env["S3_ENDPOINT_URL"],
        access_key_id=env["S3_ACCESS_KEY_ID"],
        secret_access_key=env["S3_SECRET_ACCESS_KEY"],
        bucket="integration",
        region=env.get("S3_REGION", "us-east-1"),
    )


@pytest.fixture(scope="session")
def objects(store: ObjectStore) -> Objects:
    """Yield the bucket, which all integration tests share: each test chooses its own keys."""
    objects = Objects(store, max_connections=THREADS)
    objects.ensure_bucket()
    return objects


@pytest.fixture
def redis_url(servers: EmbeddedServers) -> Iterator[str]:
    """Return the URL of an empty Redis database."""
    url = urlsplit(servers.env["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool of 64 MiB."""
    return Spool(tmp_path / "spool", None, 64 * 1024 * 1024)


@pytest.fixture
def pipeline(
    database: Database, objects: Objects, redis_url: str, spool: Spool
) -> Iterator[PipelineHarness]:
    """Yield a pipeline on the test's database, with the test's spool."""
    with running_pipeline(database, objects, redis_url, spool) as pipeline:
        yield pipeline
