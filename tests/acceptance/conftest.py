"""The Procfile's processes on the real servers; tests speak only gRPC, S3 and HTTP to them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.folder import is_free
from dev.stack import Stack, running_stack
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver

# Allowed as a receiver; its top-level domain does not exist.
UNRESOLVABLE = "receiver.nowhere"
# Below the ephemeral ports, of which any may go to somebody's connection at any time, and below
# those that the embedded servers take.
PORTS = range(9_000, 12_000)


@dataclass(frozen=True)
class Autos:
    """A running Autos, its portal and its receiver."""

    api: pb_grpc.DownloadServiceStub
    channel: grpc.Channel
    portal: SandboxPortal
    receiver: WebhookReceiver
    stack: Stack
    lines: list[str]


def free_port() -> int:
    """A loopback port that is free now."""
    candidates = iter(lambda: random.choice(PORTS), None)
    return next(port for port in candidates if is_free("127.0.0.1", port))


@pytest.fixture(scope="session")
def portal() -> Iterator[SandboxPortal]:
    """The sandbox portal."""
    with SandboxPortal(token=PORTAL_TOKEN) as running:
        yield running


@pytest.fixture(scope="session")
def receiver() -> Iterator[WebhookReceiver]:
    """The webhook receiver."""
    with WebhookReceiver(secret=WEBHOOK_SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def second_port() -> int:
    """Where a second receiver may listen."""
    return free_port()


@contextmanager
def running_autos(
    servers: EmbeddedServers,
    portal: SandboxPortal,
    receiver: WebhookReceiver,
    second_port: int,
    data_dir: Path,
    *,
    procfile: Path = ROOT / "Procfile",
    **settings: str,
) -> Iterator[Autos]:
    """An Autos on the shared servers; its database and bucket have the name of `data_dir`."""
    address = f"127.0.0.1:{free_port()}"
    env = {
        **servers.env,
        "DATABASE_URL": create_database(servers.env["DATABASE_URL"], data_dir.name),
        "DATA_DIR": str(data_dir),
        "GRPC_LISTEN": address,
        "PDPJ_BASE_URL": portal.url,
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "WEBHOOK_ALLOWED_HOSTS": ",".join(
            (urlsplit(receiver.url).netloc, f"127.0.0.1:{second_port}", UNRESOLVABLE)
        ),
        "RETRY_BASE_MS": "50",
        # Wide open, so that no test waits for the files that another holds at the portal.
        "PDPJ_MAX_CONCURRENT": "200",
        "PDPJ_MAX_CONCURRENT_PER_COURT": "200",
        "PDPJ_PAUSE_BASE_MS": "100",
        "PDPJ_PROBE_BASE_MS": "100",
        "PDPJ_PROBE_PATIENCE_S": "1",
        "CLOCK_INTERVAL_MS": "500",
        "LOG_FORMAT": "json",
        "S3_BUCKET": data_dir.name,
        **settings,
    }
    lines: list[str] = []
    with (
        running_stack(env, lines.append, procfile) as stack,
        grpc.insecure_channel(address) as channel,
    ):
        stub = pb_grpc.DownloadServiceStub(channel)
        yield Autos(stub, channel, portal, receiver, stack, lines)


@pytest.fixture(scope="session")
def autos(
    servers: EmbeddedServers,
    portal: SandboxPortal,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Autos]:
    """One Autos for all acceptance tests."""
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
    """An Autos with short leases and a portal of its own, to be ill-treated.

    Short, so that tests need not wait long for what killed processes held; not shorter, because a
    busy machine may keep living ones from renewing for seconds.
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
