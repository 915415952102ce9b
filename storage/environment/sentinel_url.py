"""The form of `REDIS_URL` that names Sentinels instead of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

# By scheme: whether connections use TLS.
SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
SENTINEL_PORT = 26379
# The parameters of a Sentinel URL. The last three concern the Sentinels' own password and TLS.
CA_FILE, SENTINEL_USER, SENTINEL_PASSWORD = (
    "ssl_ca_certs",
    "sentinel_username",
    "sentinel_password",
)
PARAMETERS = {CA_FILE, SENTINEL_USER, SENTINEL_PASSWORD}


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The Sentinels, the name of their master, and the options of connections to both."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)


def is_sentinel_url(url: str) -> bool:
    """Return whether the URL names Sentinels."""
    return url.partition("://")[0] in SENTINEL_SCHEMES


def parse_sentinel_url(url: str) -> SentinelAddress:
    """Parse `redis+sentinel://[user:password@]host[:port],.../master[/database][?parameters]`.

    Raises ValueError without parts of the URL, which may hold a password.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    parameters = dict(parse_qsl(parts.query))
    sentinels = tuple(_host_and_port(each) for each in hosts.split(","))
    if not master or not (database or "0").isdigit() or parameters.keys() - PARAMETERS:
        raise ValueError("must be redis+sentinel://host:port,host:port/master/database")
    tls: dict[str, Any] = {}
    if SENTINEL_SCHEMES[parts.scheme]:
        tls = {"ssl": True}
        if CA_FILE in parameters:
            tls["ssl_ca_certs"] = parameters[CA_FILE]
    own = {"username": unquote(user) or None, "password": unquote(password) or None}
    theirs = {
        "username": parameters.get(SENTINEL_USER),
        "password": parameters.get(SENTINEL_PASSWORD),
    }
    return SentinelAddress(
        sentinels, unquote(master), {**own, **tls, "db": int(database or 0)}, {**theirs, **tls}
    )


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(SENTINEL_PORT))
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65_535:
        raise ValueError("must name each Sentinel as host:port, with commas between them")
    return host, int(port)
