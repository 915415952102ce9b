"""Run the Procfile's processes on the real servers; tests use only gRPC, S3 and HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.running_autos import Autos, free_port, running_autos


@pytest.fixture(scope="session")
def portal() -> Iterator[SandboxPortal]:
    """Yield the sandbox portal."""
    with SandboxPortal(token=PORTAL_TOKEN) as running:
        yield running


@pytest.fixture(scope="session")
def receiver() -> Iterator[WebhookReceiver]:
    """Yield the webhook receiver."""
    with WebhookReceiver(secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def second_port() -> int:
    """Return the port on which a second receiver may listen."""
    return free_port()


@pytest.fixture(scope="session")
def autos(
    servers: EmbeddedServers,
    portal: SandboxPortal,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Autos]:
    """Yield the Autos that all acceptance tests share."""
    folder = tmp_path_factory.mktemp("acceptance", numbered=False)
    with running_autos(servers, portal, receiver, second_port, folder) as running:
        yield running


@pytest.fixture(scope="session")
def hasty(
    servers: EmbeddedServers,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Autos]:
    """Yield an Autos with short leases and its own portal, for tests that kill processes.

    Leases are short, so that tests soon see the work of killed processes reclaimed. They are not
    shorter, because a busy machine may delay the renewals of living processes by seconds.
    """
    folder = tmp_path_factory.mktemp("hasty", numbered=False)
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/1").geturl()
    with (
        SandboxPortal(token=PORTAL_TOKEN) as portal,
        running_autos(
            servers,
            portal,
            receiver,
            second_port,
            folder,
            REDIS_URL=redis_url,
            LEASE_S="10",
        ) as running,
    ):
        yield running
