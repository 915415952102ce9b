"""Run an Autos with processes that a test can kill at named points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.procfile import read_procfile
from tests.conftest import PORTAL_TOKEN
from tests.killpoints.triggers import Triggers
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
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
            procfile=_procfile(flags, is_as_shipped=is_as_shipped),
            REDIS_URL=redis_url,
            **{**(AS_SHIPPED if is_as_shipped else QUICK), **settings},
        ) as autos,
    ):
        yield autos, flags


def _procfile(flags: Triggers, *, is_as_shipped: bool) -> Path:
    """Return the Procfile of production with every role except `release` started by its wrapper."""
    option = "as-shipped" if is_as_shipped else ""
    lines = [
        f"{name}: python -m tests.killpoints.mortal_process {name} {flags.folder} {option}"
        if name != "release"
        else f"{name}: {command}"
        for name, command in read_procfile(ROOT / "Procfile").items()
    ]
    file = flags.folder.with_name("Procfile")
    file.write_text("\n".join(lines))
    return file
