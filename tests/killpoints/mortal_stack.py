"""Run an Autos with processes that a test can kill at named points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from dev.embedded.embedded_servers import EmbeddedServers
from tests.conftest import PORTAL_TOKEN
from tests.killpoints.triggers import Triggers
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.role_process import write_procfile
from tests.system.running_autos import Autos, free_port, running_autos

REDIS_DATABASE = 4
QUICK = {"LEASE_S": "3", "CLOCK_INTERVAL_MS": "200", "ORPHAN_AGE_S": "5"}
AS_SHIPPED = {"LEASE_S": "15", "CLOCK_INTERVAL_MS": "2000", "ORPHAN_AGE_S": "30"}


@contextmanager
def mortal_autos(
    servers: EmbeddedServers,
    receiver: WebhookReceiver,
    folder: Path,
    *,
    is_as_shipped: bool = False,
    **settings: str,
) -> Iterator[tuple[Autos, Triggers]]:
    """Run the Procfile's processes through tests.killpoints.mortal_process; yield their flags."""
    flags = Triggers(folder / "flags")
    (folder / "kill-points").mkdir()
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()
    with (
        SandboxPortal(token=PORTAL_TOKEN) as portal,
        running_autos(
            servers,
            portal,
            receiver,
            free_port(),
            folder / "kill-points",
            procfile=write_procfile(
                flags.folder.with_name("Procfile"),
                "tests.killpoints.mortal_process",
                str(flags.folder),
                *(("as-shipped",) if is_as_shipped else ()),
            ),
            REDIS_URL=redis_url,
            **{**(AS_SHIPPED if is_as_shipped else QUICK), **settings},
        ) as autos,
    ):
        yield autos, flags
