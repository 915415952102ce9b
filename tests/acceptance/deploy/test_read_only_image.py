"""Test the image's commands: its folders alone, without what generates code, on a read-only root.

No container daemon is needed: `unshare` (util-linux) gives each process mounts of its own.
"""

from __future__ import annotations

import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import run

import pytest
import requests

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from storage.telemetry.process_signals import PORT_AFTER
from tests.acceptance.deploy.deployment import DEADLINE_S, fetch, new_installation, started
from tests.sandbox.portal import SandboxPortal
from tests.system.deploy_files import compose_checks, compose_commands, copied_folders
from tests.system.running_autos import free_ports

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
READ_ONLY = ROOT / "tests" / "system" / "read_only_root.sh"
# As if the packages that the image leaves out, and those of the tests, were not installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("grpc_tools", "setuptools", "pytest", "dev", "tests"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the folder /srv/autos of the image."""
    folder = tmp_path / "srv"
    for name in copied_folders():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
    (folder / "proto" / "sitecustomize.py").write_text(WITHOUT)
    return folder


def test_the_image_fetches_a_case_where_only_its_data_folder_is_writable(
    servers: EmbeddedServers,
    portal: SandboxPortal,
    image: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("image")
    data = folder / "data"
    data.mkdir()
    metrics = free_ports(PORT_AFTER.values())
    env = new_installation(servers, portal, folder)
    env |= {
        "PYTHONPATH": str(image / "proto"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUTOS_ADDRESS": env["GRPC_LISTEN"],
        "METRICS_LISTEN": f"127.0.0.1:{metrics}",
    }
    commands = compose_commands()

    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(
                started(
                    [*UNSHARE, "sh", str(READ_ONLY), str(data), sys.executable, "-m", *command],
                    env,
                    image,
                )
            )
            for name, command in commands.items()
        }
        assert programs["release"].process.wait(DEADLINE_S) == 0, programs["release"].text
        job = fetch(env, portal.add_case(documents=3))
        page = requests.get(
            f"http://127.0.0.1:{metrics + PORT_AFTER['worker']}/metrics", timeout=60
        )
        checks = {
            name: run(check, env=env, cwd=image, timeout=DEADLINE_S, capture_output=True, text=True)
            for name, check in compose_checks().items()
        }
        codes = {name: each.stop(signal.SIGTERM) for name, each in programs.items()}

    assert job.state == pb.JOB_STATE_COMPLETED
    for name in ("autos_step_bytes_total{", "autos_build_info{", "process_cpu_seconds_total "):
        assert f"\n{name}" in page.text
    assert {name: check.stdout for name, check in checks.items()} == {
        "server": "SERVING\n",
        **{name: f"{name} works\n" for name in ("worker", "uploader", "notifier", "scheduler")},
    }
    assert {check.returncode for check in checks.values()} == {0}
    assert set(codes.values()) == {0}, codes
    for program in programs.values():
        assert "Traceback" not in program.text
    # The folder of the metrics is gone, the spool is empty.
    assert [path.name for path in data.rglob("autos-metrics-*")] == []
