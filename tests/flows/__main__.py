"""`python -m tests.flows`, which is `make flows`: the files of the three flows, and the goals."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from dev.embedded.embedded_servers import start_all
from dev.folder import DataFolder
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.flows.flow_files import FlowFiles, report
from tests.flows.flow_runs import FlowRuns
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.role_process import write_procfile
from tests.system.running_autos import free_port, running_autos


def main() -> int:
    """The exit code: 1 when a flow runs more files than its goal allows."""
    parser = argparse.ArgumentParser(description="Counts the files that run in three flows.")
    parser.add_argument(
        "--times", type=int, default=5, help="windows of each flow; what counts runs in all"
    )
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="autos-flows-") as folder:
        flows = _measured(Path(folder), times)
    print(report(flows))
    return int(not all(flow.is_within_goal for flow in flows))


def _measured(folder: Path, times: int) -> list[FlowFiles]:
    data = DataFolder(folder / "servers")
    servers = start_all(data, {}, lambda _: None)
    calls, own = folder / "calls", folder / "flows"
    calls.mkdir()
    own.mkdir()
    procfile = write_procfile(folder / "Procfile", "tests.flows.traced_process", str(calls))
    try:
        with (
            SandboxPortal(token=PORTAL_TOKEN) as portal,
            WebhookReceiver(secret=WEBHOOK_SECRET) as receiver,
            running_autos(servers, portal, receiver, free_port(), own, procfile=procfile) as autos,
        ):
            return FlowRuns(autos, calls).measure(times)
    finally:
        servers.stop()
        data.close()


if __name__ == "__main__":
    sys.exit(main())
