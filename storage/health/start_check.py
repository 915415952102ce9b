"""Connect once to every server at the start of a process, and name the setting that is wrong.

A wrong setting ends the process with one sentence, because no wait cures it. A server that is
unavailable does not: every process works on when it answers.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

from storage import valkey
from storage.environment.sentinel_url import is_sentinel_url
from storage.environment.setting_reader import USED_BY
from storage.errors import ConfigurationError, ServiceRefused, ServiceUnavailable
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import StoreCheck
from storage.postgres import postgres_errors, session_settings
from storage.settings import Settings

LIMIT_S = 3.0
# The oldest PostgreSQL on which the tests run: docs/reference/servers.md.
POSTGRES_MIN = 15
# Of PostgreSQL: password, role, database, right to connect, and what libpq itself refuses.
WRONG_SESSION = {
    postgres_errors.REFUSED_PASSWORD,
    postgres_errors.REFUSED_ROLE,
    postgres_errors.NO_DATABASE,
    postgres_errors.INSUFFICIENT_PRIVILEGE,
    postgres_errors.NOT_CONNECTED,
}
UNTRUSTED = "CERTIFICATE_NOT_TRUSTED"
# By S3's code: the setting that is wrong. A bucket that is missing or refuses may still change.
WRONG_OF_STORE = {
    "InvalidAccessKeyId": "S3_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "S3_SECRET_ACCESS_KEY",
    "InvalidToken": "S3_SESSION_TOKEN",
    "ExpiredToken": "S3_SESSION_TOKEN",
    "AuthorizationHeaderMalformed": "S3_REGION",
    "PermanentRedirect": "S3_ENDPOINT_URL",
    "HTTP 301": "S3_ENDPOINT_URL",
    "HTTP 308": "S3_ENDPOINT_URL",
    "InvalidBucketName": "S3_BUCKET",
    UNTRUSTED: "S3_CA_FILE",
}
# OpenSSL's texts for a certificate that a renewal, or the right time of the clock, makes valid.
PASSING_CERTIFICATES = ("certificate has expired", "certificate is not yet valid")
# OpenSSL's code for an answer without TLS.
NO_TLS = "WRONG_VERSION_NUMBER"


def check(settings: Settings, process: str) -> None:
    """Connect to the servers that `process` uses, and to each for LIMIT_S seconds at most.

    Raises ConfigurationError with one sentence for each wrong setting, and the server's own code.
    """
    problems = [
        *_problems(lambda: session_problem(settings.database_url)),
        *_problems(lambda: _store(settings)),
    ]
    if process in USED_BY["REDIS_URL"]:
        problems += _problems(lambda: _valkey(settings.redis_url))
    if problems:
        raise ConfigurationError(" ".join(problems))


def _problems(ask: Callable[[], str]) -> Iterator[str]:
    with suppress(ServiceUnavailable):
        if problem := ask():
            yield problem


def check_version(number: int) -> str:
    """Return the problem with a version of PostgreSQL, such as 140011; empty without one."""
    # A pooler may report none, which is 0.
    if not number or number // 10_000 >= POSTGRES_MIN:
        return ""
    return (
        f"DATABASE_URL: the server is PostgreSQL {number // 10_000}, and Autos needs"
        f" {POSTGRES_MIN} or newer."
    )


def session_problem(url: str) -> str:
    """Connect to PostgreSQL. Return the sentence about a wrong setting.

    Empty if the setting is right, and while PostgreSQL is unavailable.
    """
    try:
        session = session_settings.reported_session(url)
        return check_version(session.version) or session_settings.encoding_problem(
            session.kept_encoding, session.sent_encoding
        )
    except ServiceRefused as error:
        return f"DATABASE_URL: {error.detail}" if error.code in WRONG_SESSION else ""
    except ServiceUnavailable:
        return ""


def _store(settings: Settings) -> str:
    with closing(StoreCheck(ObjectStore.of(settings), limit_s=LIMIT_S)) as bucket:
        try:
            bucket.ask()
        except ServiceRefused as error:
            if error.code == NO_TLS:
                return (
                    f"S3_ENDPOINT_URL: begins with https://, and the server has no TLS ({NO_TLS})."
                )
            if error.answer in PASSING_CERTIFICATES:
                return ""
            name = WRONG_OF_STORE.get(error.code)
            if name or not error.code.startswith("HTTP 4"):
                return f"{name}: {error.detail}" if name else ""
        except ServiceUnavailable:
            pass
        else:
            return ""
    return _needs_tls("S3_ENDPOINT_URL", settings.s3_endpoint_url, "http", 80)


def _valkey(url: str) -> str:
    try:
        valkey.check_commands(url, limit_s=LIMIT_S)
    except ServiceRefused as error:
        is_passing = (
            error.code in valkey.PASSING_OF_COMMANDS or error.answer in PASSING_CERTIFICATES
        )
        return "" if is_passing else f"REDIS_URL: {error.detail}"
    except ServiceUnavailable:
        if is_sentinel_url(url):
            return ""
        return _needs_tls("REDIS_URL", url, "redis", 6379) or _lacks_tls(url)
    return ""


def _lacks_tls(url: str) -> str:
    """Return a sentence if `url` has TLS and its Valkey has none."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or not parts.hostname:
        return ""
    # Valkey waits for the rest of what it takes for a command, so a handshake has no answer.
    with (
        suppress(OSError),
        socket.create_connection((parts.hostname, parts.port or 6379), LIMIT_S) as plain,
    ):
        plain.sendall(b"PING\r\n")
        answer = plain.recv(64).split()
        if answer and answer[0] in (b"+PONG", b"-NOAUTH"):
            text = answer[0].decode()
            return f"REDIS_URL: begins with rediss://, and the server has no TLS ({text})."
    return ""


def _needs_tls(name: str, url: str, scheme: str, port: int) -> str:
    """Return a sentence if `url` has no TLS and its server answers only with TLS."""
    parts = urlsplit(url)
    if parts.scheme != scheme or not parts.hostname:
        return ""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        address = (parts.hostname, parts.port or port)
        with (
            socket.create_connection(address, LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as peer,
        ):
            return f"{name}: begins with {scheme}://, and the server needs TLS ({peer.version()})."
    except OSError:
        return ""
