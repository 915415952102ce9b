"""A running Autos: the Procfile's processes, a sandbox portal and a receiver of webhooks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.folder import is_free
from dev.stack import Stack, running_stack
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver

# The settings allow it as a receiver; its top-level domain does not exist.
UNRESOLVABLE = "receiver.nowhere"
# The port lies below the ephemeral ports, any of which the kernel may give to another connection,
# and below the ports of the embedded servers.
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
    """Return a loopback port that is free now."""
    candidates = iter(lambda: random.choice(PORTS), None)
    return next(port for port in candidates if is_free("127.0.0.1", port))


def free_ports(offsets: Iterable[int]) -> int:
    """Return a loopback port that is free now, as are those with these offsets from it."""
    after = list(offsets)
    return next(
        port
        for port in iter(free_port, None)
        if all(is_free("127.0.0.1", port + each) for each in after)
    )


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
    """Yield an Autos on the shared servers; database and bucket are named after `data_dir`."""
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
        # The limit is high, so that no test waits for files that another test holds at the portal.
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
