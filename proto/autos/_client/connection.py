"""The connection to Autos: address, TLS and token. No repr contains the token."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import grpc

from autos.errors import WrongSettings

ADDRESS = "127.0.0.1:50051"
PORT = 50051
TLS_PORT = 443
# RFC 6750. gRPC's error for an invalid header would show the token, so it is checked here.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
OPTIONS: tuple[tuple[str, int], ...] = (
    # patience.py retries calls. gRPC's own retries end after five attempts. If the server requests
    # a pause beyond the deadline, they also replace the refusal by DEADLINE_EXCEEDED.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # Detects a dead peer in about a minute; a watch detects it earlier by its heartbeats. More
    # frequent pings could exceed the limits of servers.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A page of 1,000 documents with the longest possible names.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


@dataclass(frozen=True)
class Connection:
    """The settings of a connection to Autos.

    `address`: host:port, https://host:port (TLS), http://host:port (no TLS) or unix:/path. Without
    a scheme, TLS is used if one of the files is given. `ca_file`: PEM certificates of the CAs that
    may sign the server's certificate; without it, gRPC's default CAs. `cert_file` and `key_file`:
    the client's PEM certificate and key for mutual TLS. Raises WrongSettings.
    """

    address: str = ADDRESS
    token: str = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.token and not _TOKEN.fullmatch(self.token):
            raise WrongSettings(
                "The token has characters that no bearer token may have; copy it again."
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise WrongSettings("A certificate needs its key: give both files.")
        if not self.is_tls and (self.ca_file or self.cert_file):
            raise WrongSettings(f"{self.address} means no TLS, but files for TLS are given.")
        if self.token and not self.is_tls and not self._is_meant_plain:
            raise WrongSettings(
                f"The token would cross the network to {self.address} in the clear. Give the CA "
                f"file, write https://{self.address}, or http://{self.address} if that is meant."
            )
        _ = self.target  # raises at once if the address is wrong

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read AUTOS_ADDRESS, AUTOS_TOKEN, AUTOS_CA_FILE, AUTOS_CERT_FILE and AUTOS_KEY_FILE."""

        def file(name: str) -> Path | None:
            return Path(text) if (text := env.get(name, "").strip()) else None

        return cls(
            address=env.get("AUTOS_ADDRESS", "").strip() or ADDRESS,
            token=env.get("AUTOS_TOKEN", "").strip(),
            ca_file=file("AUTOS_CA_FILE"),
            cert_file=file("AUTOS_CERT_FILE"),
            key_file=file("AUTOS_KEY_FILE"),
        )

    @property
    def is_tls(self) -> bool:
        """Return True if the connection uses TLS, so that the server needs a valid certificate."""
        scheme = self._scheme
        return scheme == "https" or (not scheme and bool(self.ca_file or self.cert_file))

    @property
    def target(self) -> str:
        """Return the target that gRPC connects to. Raises WrongSettings."""
        if self._scheme == "unix":
            return self.address
        rest = self.address.partition("://")[2] if self._scheme else self.address
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.path.strip("/") or parts.query or parts.username is not None:
            raise WrongSettings(
                f"{self.address!r} is no address: give host:port, such as {ADDRESS}."
            )
        named = f"[{host}]" if ":" in host else host
        return f"{named}:{port or (TLS_PORT if self._scheme == 'https' else PORT)}"

    @property
    def options(self) -> list[tuple[str, int]]:
        """Return the options of the channel."""
        # A connection to this machine must not use a proxy.
        proxy = [("grpc.enable_http_proxy", 0)] if self._is_local else []
        return [*OPTIONS, *proxy]

    def channel(self, api: Any = grpc) -> Any:
        """Return a channel of `api`, which is grpc or grpc.aio. Raises WrongSettings."""
        credentials = self._credentials()
        if credentials is None:
            return api.insecure_channel(self.target, self.options)
        return api.secure_channel(self.target, credentials, self.options)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        """Return the TLS credentials with the token; None without TLS. Raises WrongSettings."""
        if not self.is_tls:
            return None
        channel = grpc.ssl_channel_credentials(
            _content(self.ca_file), _content(self.key_file), _content(self.cert_file)
        )
        if not self.token:
            return channel
        calls = grpc.access_token_call_credentials(self.token)
        return grpc.composite_channel_credentials(channel, calls)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of each call.

        It has the token only without TLS, since gRPC accepts call credentials only with TLS.
        """
        if self.is_tls or not self.token:
            return ()
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def _scheme(self) -> str:
        if self.address.startswith("unix:"):
            return "unix"
        scheme, found, _ = self.address.partition("://")
        if found and scheme not in ("http", "https"):
            raise WrongSettings(f"{self.address!r}: only http:// and https:// are supported.")
        return scheme if found else ""

    @property
    def _is_meant_plain(self) -> bool:
        return self._scheme in ("http", "unix") or self._is_local

    @property
    def _is_local(self) -> bool:
        if self._scheme == "unix":
            return True
        host = urlsplit(f"//{self.target}").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def _content(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongSettings(f"{file} cannot be read: {error.strerror}.") from error
