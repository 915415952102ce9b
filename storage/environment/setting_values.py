"""The values of the settings: each function returns what a text stands for.

Each raises ValueError with the rule that the text breaks: "must be a whole number from 1 to 20".
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from storage.environment.sentinel_url import (
    SENTINEL_SCHEMES,
    is_sentinel_url,
    parse_sentinel_url,
)

T = TypeVar("T")
# Of 24 random bytes, fewer are distinct less than once in 10^12 keys.
DISTINCT_BYTES = 12


def whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def by_court(parse: Callable[[str], T]) -> Callable[[str], Mapping[str, T]]:
    def parse_all(text: str) -> Mapping[str, T]:
        values: dict[str, T] = {}
        for entry in comma_list(text):
            court, _, value = entry.partition("=")
            if not re.fullmatch(r"[1-9]\.\d\d", court, re.ASCII) or court in values:
                raise ValueError("must be COURT=NUMBER, such as 5.02=1500, once for each court")
            values[court] = parse(value)
        return values

    return parse_all


def or_off(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    def parse_or_off(text: str) -> T | None:
        if text == "off":
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from error

    return parse_or_off


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _url(text: str, *schemes: str) -> str:
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in schemes and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}"
        )
    return text


def http_url(text: str) -> str:
    url = _url(text, "http", "https").rstrip("/")
    parts = urlsplit(url)
    is_bare = url.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not parts.hostname or not is_bare or "@" in parts.netloc:
        raise ValueError("must be http(s)://host[:port] and nothing more")
    return url


def database_url(text: str) -> str:
    if not urlsplit(_url(text, "postgresql", "postgres")).path.strip("/"):
        raise ValueError("must name a database: postgresql://user:password@host/database")
    try:
        parse_dsn(text)
    except ProgrammingError:
        # Without its cause: its text may contain a part of the password.
        raise ValueError(
            "must be a URL that PostgreSQL understands, with only its parameters after the ?"
        ) from None
    return text


def redis_url(text: str) -> str:
    if is_sentinel_url(text):
        parse_sentinel_url(text)
        return text
    return _url(text, "redis", "rediss", "unix", *SENTINEL_SCHEMES)


def listen_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65_535:
        raise ValueError("must be host:port")
    return text


def metrics_address(text: str) -> str:
    # The first of several ports: each process takes its own.
    if int(listen_address(text).rpartition(":")[2]) > 65_531:
        raise ValueError("must be host:port with a port up to 65531")
    return text


def otlp_url(text: str) -> str:
    url = _url(text, "http", "https")
    parts = urlsplit(url)
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be http(s)://host[:port][/path] without user info or query")
    return url


def on_or_off(text: str) -> bool:
    return one_of("on", "off")(text) == "on"


def comma_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text) or ".." in text:
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens")
    return text


def prefix(text: str) -> str:
    parts = text.rstrip("/").split("/")
    is_plain = all(re.fullmatch(r"[A-Za-z0-9._-]+", part) for part in parts)
    if not is_plain or {".", ".."} & {*parts} or len(text) > 200:
        raise ValueError(
            "must be names of letters, digits, dots, hyphens and underscores with slashes between"
            " them, 200 characters at most"
        )
    return "/".join(parts) + "/"


def token(text: str) -> str:
    # http.client refuses any other value in a header, and puts it into its error message. In a
    # form, another value would only be a copying error.
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be visible ASCII characters without spaces")
    return text


def token_url(text: str) -> str:
    parts = urlsplit(_url(text, "http", "https"))
    is_safe = parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1", "::1"}
    is_plain = re.fullmatch(r"[!-~]+", text) and not set(text) & set("@?#")
    if not parts.hostname or not is_plain or not is_safe:
        raise ValueError(
            "must be an https:// URL without user info, query or fragment (http only on loopback)"
        )
    return text


def ca_file(text: str) -> Path:
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError("must be a file of PEM certificates that can be read") from error
    return Path(text)


def encryption_keys(text: str) -> tuple[str, ...]:
    keys = comma_list(text)
    if not keys or not all(map(_is_encryption_key, keys)):
        raise ValueError("must be 32 bytes as URL-safe base64 (several: comma-separated)")
    return keys


def _is_encryption_key(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is not None


def parse_webhook_secrets(text: str) -> tuple[str, ...]:
    """Return comma-separated secrets. Raises ValueError with the rule that one breaks."""
    secrets = comma_list(text)
    if not secrets or not all(map(is_webhook_secret, secrets)):
        raise ValueError(
            "must be whsec_ and the base64 of 24 to 64 bytes (several: comma-separated)"
        )
    if not all(map(_looks_random, secrets)):
        raise ValueError("must hold random bytes: these repeat, or follow a pattern")
    return secrets


def _looks_random(text: str) -> bool:
    """Return False if the bytes are few, or follow each other in equal steps."""
    key = base64.b64decode(text.removeprefix("whsec_"))
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(set(key)) >= DISTINCT_BYTES and len(steps) >= DISTINCT_BYTES


def is_webhook_secret(text: str) -> bool:
    """Whether this is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = webhook_key(text)
    except ValueError:  # no base64, or not even ASCII
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def webhook_key(secret: str) -> bytes:
    """The key of a webhook secret. Raises ValueError."""
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
