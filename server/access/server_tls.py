"""TLS from files. A new connection reads them again if they have been renewed.

Open connections continue unchanged: gRPC requests the certificate only at each new handshake.
"""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from storage.clients.clients_file import UNREAD, file_version, is_unread
from storage.errors import ConfigurationError

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class TlsFiles:
    """A certificate chain, its key and, for mutual TLS, the CA of the clients' certificates.

    `problem`: why the files were not used at the last handshake, in one sentence; empty if they
    were.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Read the files. Raises ConfigurationError with one sentence if one is invalid."""
        self._paths = {"GRPC_TLS_CERT_FILE": cert, "GRPC_TLS_KEY_FILE": key}
        if client_ca:
            self._paths["GRPC_TLS_CLIENT_CA_FILE"] = client_ca
        self._lock = threading.Lock()
        self.problem = ""
        self._seen = self._versions()
        self._first = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a secure port.

        If a CA is set, a caller without a certificate of that CA gets no connection.
        """
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._renewed,  # type: ignore[arg-type]  # the type stub lacks None
            require_client_authentication="GRPC_TLS_CLIENT_CA_FILE" in self._paths,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration; None if no file has changed.

        gRPC calls this on its own threads at each handshake.
        """
        with self._lock:
            versions = self._versions()
            if versions == self._seen:
                return None
            self._seen = versions
            try:
                found = self._read()
            except ConfigurationError as error:
                # For example, one of two files is replaced; the second change is read again later.
                if is_unread(error):
                    self._seen = [UNREAD]
                if str(error) != self.problem:
                    self.problem = str(error)
                    log.warning("TLS files not usable; those of before stay", problem=self.problem)
                return None
        self.problem = ""
        log.info("TLS files read again")
        return found

    def _versions(self) -> list[tuple[int, ...] | None]:
        return [file_version(path) for path in self._paths.values()]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        found = {name: _bytes(name, path) for name, path in self._paths.items()}
        chain, key = found["GRPC_TLS_CERT_FILE"], found["GRPC_TLS_KEY_FILE"]
        client_ca = found.get("GRPC_TLS_CLIENT_CA_FILE")
        certificate = _first_certificate("GRPC_TLS_CERT_FILE", chain)
        if _public_key_of(key) != _public_key_in(certificate):
            raise ConfigurationError("GRPC_TLS_KEY_FILE is not the key of GRPC_TLS_CERT_FILE.")
        if client_ca is not None:
            _first_certificate("GRPC_TLS_CLIENT_CA_FILE", client_ca)
        return grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)


def _bytes(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} cannot be read: {error.strerror}.") from error


def _first_certificate(name: str, pem: bytes) -> Certificate:
    try:
        return load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise ConfigurationError(f"{name} holds no PEM certificate.") from error


def _public_key_of(pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError("GRPC_TLS_KEY_FILE holds no PEM key without password.") from error


def _public_key_in(certificate: Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError("GRPC_TLS_CERT_FILE holds a key of an unknown kind.") from error
