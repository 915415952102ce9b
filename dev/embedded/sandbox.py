"""The sandbox portal as one of the embedded servers."""

from __future__ import annotations

import sys
from pathlib import Path

import urllib3

from dev.embedded.embedded_server import EmbeddedServer
from dev.folder import DataFolder
from dev.processes.process import Program

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "sandbox-token"  # noqa: S105 - opens nothing but the sandbox
# If one of these variables is set, another portal is configured.
CREDENTIALS = (
    *("PDPJ_BASE_URL", "PDPJ_TOKEN", "PDPJ_TOKEN_URL"),
    *("PDPJ_CLIENT_ID", "PDPJ_CLIENT_SECRET", "PDPJ_REFRESH_TOKEN"),
)


def sandbox_portal(folder: DataFolder) -> EmbeddedServer:
    """Return the sandbox portal with its made-up cases, ready to be started."""
    port = folder.ports("portal", ("portal",))["portal"]
    url = f"http://127.0.0.1:{port}"
    log = folder.subfolder("log")
    options = ("--port", str(port), "--token", TOKEN, "--log", str(log / "portal-requests.jsonl"))
    program = Program(
        name="portal",
        command=(sys.executable, "-m", "tests.sandbox.portal", *options),
        cwd=ROOT,
        env={},
        log=log / "portal.log",
        lock=folder.path / "portal.lock",
    )
    return EmbeddedServer(
        program, {"PDPJ_BASE_URL": url, "PDPJ_TOKEN": TOKEN}, lambda: _answers(url)
    )


def _answers(url: str) -> bool:
    with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
        try:
            pool.request("GET", url)
        except urllib3.exceptions.HTTPError:
            return False
    return True
