"""Connections beyond loopback without TLS: each needs a setting that allows it word for word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

# The exact value of every setting in ALLOWED_BY.
TRUSTED = "its-network-is-trusted"
# By setting with a URL: the setting that allows it without TLS.
ALLOWED_BY = {
    "DATABASE_URL": "DATABASE_PLAINTEXT",
    "REDIS_URL": "REDIS_PLAINTEXT",
    "S3_ENDPOINT_URL": "S3_PLAINTEXT",
    "S3_PUBLIC_ENDPOINT_URL": "S3_PLAINTEXT",
    "S3_STS_URL": "S3_PLAINTEXT",
    "PDPJ_BASE_URL": "PDPJ_PLAINTEXT",
    # Not a URL, but the address of pages that have neither TLS nor authentication.
    "METRICS_LISTEN": "METRICS_PLAINTEXT",
}
# What to do instead.
_REMEDY = {
    "DATABASE_URL": "add sslmode=verify-full to it",
    "REDIS_URL": "use rediss://",
    "METRICS_LISTEN": "use 127.0.0.1",
}
_SSL_MODES = {"require", "verify-ca", "verify-full"}


def is_loopback_host(host: str) -> bool:
    """Return whether only this machine can reach `host`. Of names, only localhost counts."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def problems(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and problem of each URL in `env` that leads beyond loopback without TLS."""
    for name, word in ALLOWED_BY.items():
        url = env.get(name, "").strip()
        if env.get(word, "").strip() or not url:
            continue
        if _is_plaintext(name, url, env.get("PGSSLMODE", "").strip()):
            yield (
                name,
                f"{name} leads beyond loopback without TLS: {_REMEDY.get(name, 'use https://')},"
                f" or set {word}={TRUSTED}",
            )


def _is_plaintext(name: str, url: str, default_ssl_mode: str) -> bool:
    """Return False also for a URL that is not valid; another rule refuses it."""
    if name == "DATABASE_URL":
        return _is_plaintext_postgres(url, default_ssl_mode)
    if name == "METRICS_LISTEN":
        return not is_loopback_host(url.rpartition(":")[0])
    if name == "REDIS_URL" and url.startswith("redis+sentinel://"):
        # The master may be anywhere, so only loopback Sentinels are taken for this machine's.
        hosts = url.partition("://")[2].partition("/")[0].rpartition("@")[2].split(",")
        return not all(is_loopback_host(host.rpartition(":")[0] or host) for host in hosts)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme == "redis":
        host = host or (parse_qs(parts.query).get("host") or [""])[0]
    return parts.scheme in ("http", "redis") and bool(host) and not is_loopback_host(host or "")


def _is_plaintext_postgres(url: str, default_ssl_mode: str) -> bool:
    try:
        dsn = parse_dsn(url)
    except ProgrammingError:
        return False
    # libpq's own default, prefer, accepts a server that offers no TLS.
    if dsn.get("sslmode", default_ssl_mode) in _SSL_MODES:
        return False
    hosts = (dsn.get("hostaddr") or dsn.get("host") or "").split(",")
    # An empty host and a path are sockets of this machine.
    return not all(not host or host[0] in "/@" or is_loopback_host(host) for host in hosts)
