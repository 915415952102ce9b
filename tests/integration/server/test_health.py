"""Test that the server's health reports a full spool and a rejected login."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from grpc_health.v1 import health, health_pb2

from actors.leases.heartbeats import FOREIGN, Heartbeat
from dev.embedded.embedded_servers import EmbeddedServers
from server.part_health import BUCKET, PORTAL, SPOOL, watch_troubles
from server.runtime.event_loop import Background
from storage.login import login_blocks
from storage.login.login_values import Login
from storage.objects import installation
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from storage.scheduling import reconciliation
from storage.spool import OWNER_FILE, UNKNOWN_SIZE_BYTES, Spool
from tests.databases import create_database
from tests.integration.harness import factories


def test_a_full_spool_is_reported_and_so_is_its_end(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", None, UNKNOWN_SIZE_BYTES)
    lease = uuid4()
    problems = partial(reconciliation.spool_problems, database)
    with spool.create(lease, UNKNOWN_SIZE_BYTES) as file:
        file.write(b"x" * UNKNOWN_SIZE_BYTES)

    Heartbeat(database, spool).beat()
    assert problems() == ["The spool has reached SPOOL_MAX_BYTES."]
    assert asyncio.run(_health(SPOOL, problems)) == health_pb2.HealthCheckResponse.NOT_SERVING

    spool.remove(lease)
    Heartbeat(database, spool).beat()
    assert problems() == []
    assert asyncio.run(_health(SPOOL, problems)) == health_pb2.HealthCheckResponse.SERVING


def test_a_spool_with_an_unreadable_owner_stays_alive_and_accepts_no_files(
    database: Database, spool: Spool, tmp_path: Path
) -> None:
    owner = tmp_path / "spool" / OWNER_FILE
    problems = partial(reconciliation.spool_problems, database)
    installation.ensure(database)

    owner.write_bytes(b"\xff" * 36)
    Heartbeat(database, spool).beat()
    assert problems() == [FOREIGN]

    owner.unlink()
    owner.mkdir()
    Heartbeat(database, spool).beat()
    assert problems() == ["The folder of the spool cannot be used: Is a directory."]


def test_a_rejected_login_is_reported_and_so_is_its_end(database: Database) -> None:
    login, changed = Login("any", "first"), Login("any", "second")
    assert login_blocks.block_if_rejected(database, login, "The portal refuses the token.")
    problems = partial(login_blocks.troubles, database, login)
    assert problems() == ["The portal refuses the token."]
    assert asyncio.run(_health(PORTAL, problems)) == health_pb2.HealthCheckResponse.NOT_SERVING

    problems = partial(login_blocks.troubles, database, changed)
    assert asyncio.run(_health(PORTAL, problems)) == health_pb2.HealthCheckResponse.SERVING


def test_a_bucket_that_is_not_swept_is_reported_and_so_is_its_end(database: Database) -> None:
    problems = partial(installation.troubles, database)
    assert problems() == [installation.NO_ROW]
    installation.ensure(database)
    assert asyncio.run(_health(BUCKET, problems)) == health_pb2.HealthCheckResponse.SERVING

    factories.execute(database, "UPDATE installation SET sweep_trouble = 'Too many would go.'")
    assert problems() == ["Too many would go."]
    assert asyncio.run(_health(BUCKET, problems)) == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_server_started_before_release_is_healthy_once_release_has_run(
    servers: EmbeddedServers,
) -> None:
    # Given a database without a table
    database = Database(
        create_database(servers.env["DATABASE_URL"], "not_released"), max_connections=2
    )
    servicer = health.aio.HealthServicer()

    async def troubles() -> list[str]:
        return await asyncio.to_thread(reconciliation.spool_problems, database)

    async def is_(status: int) -> None:
        async with asyncio.timeout(60):
            while servicer._server_status.get(SPOOL) != status:
                await asyncio.sleep(0.01)

    async def watch() -> None:
        background = Background(restart_s=0.01)
        background.start(SPOOL, partial(watch_troubles, servicer, SPOOL, troubles))
        await is_(health_pb2.HealthCheckResponse.NOT_SERVING)
        # When its tables are made, the server stays up
        await asyncio.to_thread(migrate, database)
        await is_(health_pb2.HealthCheckResponse.SERVING)
        await background.stop()

    asyncio.run(watch())
    database.close()


async def _health(name: str, look: Callable[[], list[str]]) -> int:
    """Return the health status under a name."""
    servicer = health.aio.HealthServicer()

    async def troubles() -> list[str]:
        return look()

    watching = asyncio.create_task(watch_troubles(servicer, name, troubles))
    try:
        async with asyncio.timeout(60):
            while name not in servicer._server_status:
                await asyncio.sleep(0.01)
        return int(servicer._server_status[name])
    finally:
        watching.cancel()
