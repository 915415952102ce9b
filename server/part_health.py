"""The health of the parts that jobs need, which gRPC health reports beside the server's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from grpc_health.v1 import health, health_pb2

from server.dependencies import ServerDependencies
from storage import refusals
from storage.errors import ServiceRefused, ServiceUnavailable
from storage.login import login_blocks
from storage.objects import installation
from storage.portal import case_budget
from storage.scheduling import reconciliation

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The service names of the parts: see docs/reference/health.md.
SPOOL = "autos.spool"
PORTAL = "autos.portal"
BUCKET = "autos.bucket"
BUDGET = "autos.budget"
CLIENTS = "autos.clients"
TROUBLE_LOOK_S = 2.0


def _portal(parts: ServerDependencies) -> list[str]:
    refused = refusals.troubles(parts.database, refusals.PORTAL)
    return [*refused, *login_blocks.troubles(parts.database, parts.login)]


def _bucket(parts: ServerDependencies) -> list[str]:
    refused = refusals.troubles(parts.database, refusals.STORE)
    return [*refused, *installation.troubles(parts.database)]


# By service name: why files cannot be fetched now, or a change of the clients is not used, a
# sentence each. They raise ServiceUnavailable.
TROUBLES: Mapping[str, Callable[[ServerDependencies], list[str]]] = {
    SPOOL: lambda parts: reconciliation.spool_problems(parts.database),
    PORTAL: _portal,
    BUCKET: _bucket,
    BUDGET: lambda parts: case_budget.troubles(parts.database),
    CLIENTS: lambda parts: parts.webhook_secrets.troubles(),
}


async def watch_troubles(
    servicer: health.aio.HealthServicer, name: str, troubles: Callable[[], Awaitable[list[str]]]
) -> None:
    """Report the health of `name`: NOT_SERVING while there are `troubles`. Log each change.

    A refusal of PostgreSQL is a trouble, too: for example, the tables are missing before the first
    release. Background runs this function. It raises what `troubles` raises, except
    ServiceUnavailable.
    """
    reported: list[str] | None = None
    while True:
        try:
            found = await troubles()
        except ServiceRefused as error:
            found = [error.detail]
        except ServiceUnavailable:
            found = reported or []
        except Exception:
            await servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
            raise
        if found != reported:
            state = health_pb2.HealthCheckResponse
            await servicer.set(name, state.NOT_SERVING if found else state.SERVING)
            if found:
                log.warning("health", part=name, troubles=found)
            elif reported:
                log.info("health is good again", part=name)
            reported = found
        await asyncio.sleep(TROUBLE_LOOK_S)
