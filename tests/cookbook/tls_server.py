"""Run a server with a clients file and TLS, beside the one without authentication."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from dev.embedded.sandbox import ROOT
from tests.network.certificates import Certificate

# The text of docs/howto/call-grpcurl.md.
LIMITS = {
    "starts_per_minute": 2,
    "jobs_at_once": 1,
    "open_watches": 1,
    "repeats_per_minute": 1,
    "subscriptions": 1,
}
READY_S = 120.0


@contextmanager
def secured_server(env: Mapping[str, str], address: str, folder: Path) -> Iterator[dict[str, str]]:
    """Serve at `address` with the settings of `env`; yield AUTOS_TOKEN and AUTOS_CA_FILE.

    `folder` is empty; certificates, the key and the clients file go there.
    """
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    tokens = [{"sha256": digest}]
    client = {"name": "ana", "tokens": tokens, "limits": LIMITS, "courts": ["8.26"]}
    clients = folder / "clients.json"
    clients.write_text(json.dumps({"clients": [client]}))
    authority = Certificate.authority()
    shown = authority.for_loopback()
    ca, cert, key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
    for file, pem in ((ca, authority.pem), (cert, shown.pem), (key, shown.key_pem)):
        file.write_bytes(pem)
    settings = {
        "GRPC_LISTEN": address,
        "AUTOS_CLIENTS_FILE": str(clients),
        "GRPC_TLS_CERT_FILE": str(cert),
        "GRPC_TLS_KEY_FILE": str(key),
    }
    process = subprocess.Popen(
        (sys.executable, "-m", "server"),
        cwd=ROOT,
        env={**os.environ, **env, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        credentials = grpc.ssl_channel_credentials(authority.pem)
        with grpc.secure_channel(address, credentials) as channel:
            grpc.channel_ready_future(channel).result(timeout=READY_S)
        yield {"AUTOS_TOKEN": token, "AUTOS_CA_FILE": str(ca)}
    finally:
        process.terminate()
        process.wait(READY_S)
