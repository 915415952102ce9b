"""An embedded SeaweedFS: S3 on loopback with keys of its own.

By default its other HTTP ports (master, filer) would read, write and delete without credentials, so
they are disabled and the filer requires tokens. Its gRPC ports require
certificates of their own authority: mutual TLS.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from minio import Minio
from minio.error import MinioException

from dev.embedded.embedded_server import EmbeddedServer
from dev.folder import WEED_OFFSET, DataFolder, secret_file, write_private
from dev.processes.process import Program

PORTS = ("s3", "master", "volume", "filer", "admin")
REGION = "us-east-1"
# The parts with sections of their own in SeaweedFS's security.toml.
PARTS = ("MASTER", "VOLUME", "FILER", "S3", "CLIENT", "MSG_BROKER", "MQ", "ADMIN", "WORKER")
LIFETIME = timedelta(days=3_650)


def seaweedfs(folder: DataFolder) -> EmbeddedServer:
    """Return SeaweedFS on `folder`, ready to be started."""
    ports = folder.ports("s3", PORTS)
    access_key = folder.secret("s3_access_key", lambda: secrets.token_hex(10).upper())
    secret_key = folder.secret("s3_secret_key", lambda: secrets.token_urlsafe(30))
    identities = secret_file(folder.path, "s3.json")
    write_private(identities, _identities(access_key, secret_key))
    home = folder.subfolder("s3")
    data = folder.subfolder("s3/data")
    program = Program(
        name="s3",
        command=_command(data, identities, ports),
        cwd=home,
        env=_locks(home) | mutual_tls(folder.subfolder("secrets")),
        # After SIGTERM it sometimes never ends (4.48). SIGKILL loses no acknowledged write.
        death_signal=signal.SIGKILL,
        grace_s=5.0,
        log=folder.subfolder("log") / "s3.log",
        lock=folder.path / "s3.lock",
    )
    env = {
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "S3_ACCESS_KEY_ID": access_key,
        "S3_SECRET_ACCESS_KEY": secret_key,
        "S3_REGION": REGION,
    }
    (data / "mini.options").unlink(missing_ok=True)  # the ports of the previous run
    _remove_sockets(ports)
    return EmbeddedServer(program, env, lambda: _answers(env), clean=lambda: _remove_sockets(ports))


def _command(data: Path, identities: Path, ports: Mapping[str, int]) -> tuple[str, ...]:
    return (
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr",
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        f"-s3.config={identities}",
        "-s3.autoCreateBucket=false",
        "-filer.localSocket=filer.sock",  # relative to cwd: a socket's path must be short
        "-s3.localSocket=s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-disableHttp",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        # If a volume is full, a writer waits for up to a second. Each bucket needs at least one
        # volume, even on a small disk.
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=1000",
        "-volume.preStopSeconds=0",
    )


def _identities(access_key: str, secret_key: str) -> str:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    identity = {"name": "autos", "credentials": credentials, "actions": ["Admin"]}
    return json.dumps({"identities": [identity]})


def _locks(home: Path) -> dict[str, str]:
    """Return its environment, with new keys; its HTTP ports refuse requests without them."""
    parts = ("SIGNING", "FILER_SIGNING", "FILER_SIGNING_READ")
    return {"HOME": str(home)} | {f"WEED_JWT_{part}_KEY": secrets.token_hex(32) for part in parts}


def _remove_sockets(ports: Mapping[str, int]) -> None:
    """Remove the sockets that a killed SeaweedFS leaves in /tmp, a fixed path of SeaweedFS."""
    for name, port in ports.items():
        socket = f"seaweedfs-{name}-grpc-{port + WEED_OFFSET}.sock"
        Path("/tmp", socket).unlink(missing_ok=True)  # noqa: S108 - only ever removed


def _read_something(client: Minio) -> None:
    """Read the first object found. After a restart, listed objects are not readable at once."""
    for bucket in client.list_buckets():
        for item in client.list_objects(bucket.name, recursive=True):
            if item.size:
                client.get_object(bucket.name, str(item.object_name), length=1).close()
                return


def _answers(env: Mapping[str, str]) -> bool:
    pool = urllib3.PoolManager(retries=False, timeout=2.0)
    client = Minio(
        env["S3_ENDPOINT_URL"].removeprefix("http://"),
        access_key=env["S3_ACCESS_KEY_ID"],
        secret_key=env["S3_SECRET_ACCESS_KEY"],
        secure=False,
        region=REGION,
        http_client=pool,
    )
    try:
        _read_something(client)
    except (MinioException, urllib3.exceptions.HTTPError):
        return False
    finally:
        pool.clear()
    return True


def mutual_tls(folder: Path) -> dict[str, str]:
    """Return SeaweedFS's variables for mutual TLS.

    Each call writes new files that only this user may read. The key of the authority is not kept,
    so nothing else can get a certificate.
    """
    authority, part = _key(), _key()
    files = {
        "ca": _certificate("autos embedded ca", authority, authority, is_ca=True),
        "cert": _certificate("autos embedded part", part, authority, is_ca=False),
        "key": part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    paths = {name: folder / f"grpc.{name}.pem" for name in files}
    for name, pem in files.items():
        write_private(paths[name], pem.decode())
    env = {"WEED_GRPC_CA": str(paths["ca"])}
    for each in PARTS:
        env[f"WEED_GRPC_{each}_CERT"] = str(paths["cert"])
        env[f"WEED_GRPC_{each}_KEY"] = str(paths["key"])
    return env


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> bytes:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "autos embedded ca")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)
