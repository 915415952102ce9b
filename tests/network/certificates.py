"""Create certificates for tests: an authority, and those that it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def authority(cls) -> Self:
        """Return an authority that may sign other certificates."""
        return cls._made("an authority", [], None)

    def signs(self, common_name: str, *names: x509.GeneralName) -> Certificate:
        """Return a certificate signed by this authority, with these alternative names."""
        return type(self)._made(common_name, list(names), self)

    def for_loopback(self) -> Certificate:
        """Return a new certificate for a server on 127.0.0.1."""
        return self.signs("a server", LOOPBACK)

    def expired_for_loopback(self) -> Certificate:
        """Return a certificate for a server on 127.0.0.1 that was valid until yesterday."""
        return type(self)._made("a server", [LOOPBACK], self, ends_in=timedelta(days=-1))

    @property
    def pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """Return the certificate as DER, as a peer shows it."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """Return the key as PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @classmethod
    def _made(
        cls,
        name: str,
        names: list[x509.GeneralName],
        signer: Certificate | None,
        *,
        ends_in: timedelta = timedelta(days=1),
    ) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + ends_in)
            .add_extension(x509.BasicConstraints(signer is None, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return cls(builder.sign(signer.key if signer else key, hashes.SHA256()), key)
