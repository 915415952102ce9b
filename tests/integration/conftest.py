"""Give each test a database, a bucket, a Redis and a spool on the suite's real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from dev.embedded.embedded_servers import EmbeddedServers
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness.empty_databases import EmptyDatabases
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline
from tests.pooling.pooler import Pooler

# The acceptance tests' processes use another one.
REDIS_DATABASE = 7
THREADS = 40


@pytest.fixture(scope="session")
def databases(servers: EmbeddedServers) -> Iterator[EmptyDatabases]:
    """Yield the databases of the suite's PostgreSQL."""
    with closing(EmptyDatabases(servers.env["DATABASE_URL"])) as databases:
        yield databases


@pytest.fixture
def direct_url(databases: EmptyDatabases) -> Iterator[str]:
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
def database(databases: EmptyDatabases, direct_url: str, database_url: str) -> Iterator[Database]:
    """Yield the test's database, for up to THREADS threads."""
    if database_url == direct_url:
        with databases.pool(database_url, max_connections=THREADS) as database:
            yield database
        return
    with closing(Database(database_url, max_connections=THREADS)) as database:
        yield database


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
