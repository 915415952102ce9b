"""A spool without room is said: in its row, and in the health of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

from grpc_health.v1 import health, health_pb2

from actors.heartbeat import Heartbeat
from server.__main__ import SPOOL, watch_spools
from storage import repairs
from storage.database import Database
from storage.spool import UNKNOWN_SIZE_BYTES, Spool


def test_a_full_spool_is_said_and_so_is_its_end(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", None, UNKNOWN_SIZE_BYTES)
    lease = uuid4()
    with spool.create(lease, UNKNOWN_SIZE_BYTES) as file:
        file.write(b"x" * UNKNOWN_SIZE_BYTES)

    Heartbeat(database, spool).start()
    assert repairs.troubles(database) == ["The spool has reached SPOOL_MAX_BYTES."]
    assert asyncio.run(_health(database)) == health_pb2.HealthCheckResponse.NOT_SERVING

    spool.remove(lease)
    Heartbeat(database, spool).start()
    assert repairs.troubles(database) == []
    assert asyncio.run(_health(database)) == health_pb2.HealthCheckResponse.SERVING


async def _health(database: Database) -> int:
    """What the server tells under the name of the spools."""
    servicer = health.aio.HealthServicer()

    async def troubles() -> list[str]:
        return repairs.troubles(database)

    watching = asyncio.create_task(watch_spools(servicer, troubles))
    try:
        async with asyncio.timeout(60):
            while SPOOL not in servicer._server_status:
                await asyncio.sleep(0.01)
        return int(servicer._server_status[SPOOL])
    finally:
        watching.cancel()
