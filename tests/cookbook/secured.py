"""A server process that knows its clients, over TLS, beside the one that serves everybody."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dev.sandbox import ROOT

# As docs/GRPCURL.md says it.
LIMITS = {"starts_per_minute": 2, "jobs_at_once": 1, "open_watches": 1}
READY_S = 120.0


@contextmanager
def secured_server(env: Mapping[str, str], address: str, folder: Path) -> Iterator[dict[str, str]]:
    """Serves at `address` on what `env` names; gives AUTOS_TOKEN and AUTOS_CA_FILE.

    `folder` is empty; the certificate, its key and the clients go there.
    """
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    client = {"name": "ana", "tokens": [{"sha256": digest}], "limits": LIMITS}
    clients = folder / "clients.json"
    clients.write_text(json.dumps({"clients": [client]}))
    cert, key = _certificate(folder)
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
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            grpc.channel_ready_future(channel).result(timeout=READY_S)
        yield {"AUTOS_TOKEN": token, "AUTOS_CA_FILE": str(cert)}
    finally:
        process.terminate()
        process.wait(READY_S)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 for a day, its own CA, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "autos")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "server.pem", folder / "server.key"
    pem = serialization.Encoding.PEM
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
