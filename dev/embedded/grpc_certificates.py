"""Certificates for the gRPC of SeaweedFS's parts among each other: mutual TLS, by their own CA."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dev.folder import write_private

# The parts with sections of their own in SeaweedFS's security.toml.
PARTS = ("MASTER", "VOLUME", "FILER", "S3", "CLIENT", "MSG_BROKER", "MQ", "ADMIN", "WORKER")
LIFETIME = timedelta(days=3_650)


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
