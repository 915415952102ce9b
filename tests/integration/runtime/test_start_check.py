"""Test that a wrong setting is reported at the start, with the server's code, and no outage is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from threading import Thread
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import psycopg2
import pytest
import redis
from psycopg2 import sql
from redis._parsers.base import BaseParser

from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from storage.errors import ConfigurationError, ServiceRefused
from storage.health import start_check
from storage.postgres.postgres_errors import connection_failure
from storage.settings import Settings
from storage.valkey import meaning
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.network.certificates import Certificate
from tests.network.store_proxy import No, store_proxy
from tests.network.tls_front import tls_front

WRONG = "planted-wrong-secret"


@pytest.fixture
def env(servers: EmbeddedServers, database_url: str, redis_url: str) -> dict[str, str]:
    """Return correct settings."""
    return {
        **servers.env,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "S3_BUCKET": "integration",
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
    }


def _problem(env: Mapping[str, str], **wrong: str) -> str:
    """Return what the start reports; empty if the process would start."""
    problem = ""
    try:
        start_check.check(Settings.from_env({**env, **wrong}), "worker")
    except ConfigurationError as error:
        problem = str(error)
    assert WRONG not in problem
    return problem


def _with(url: str, **parts: str) -> str:
    return urlsplit(url)._replace(**parts).geturl()


def _userinfo(url: str, change: Callable[[SplitResult], str]) -> str:
    parts = urlsplit(url)
    return _with(url, netloc=f"{change(parts)}@{parts.netloc.rpartition('@')[2]}")


def test_correct_settings_are_no_problem(env: dict[str, str], objects: object) -> None:
    assert _problem(env) == ""
    assert _problem(env, DATABASE_URL=env["DATABASE_URL"].replace("postgresql:", "postgres:")) == ""


def test_a_wrong_database_or_user_is_reported(env: dict[str, str]) -> None:
    url = env["DATABASE_URL"]
    database = _problem(env, DATABASE_URL=_with(url, path="/nowhere"))
    assert database.startswith("DATABASE_URL: PostgreSQL refuses session: 3D000 (")
    assert 'database "nowhere" does not exist' in database
    role = _problem(env, DATABASE_URL=_userinfo(url, lambda _: f"unknown:{WRONG}"))
    assert role.startswith("DATABASE_URL: PostgreSQL refuses session: 28")


@pytest.mark.parametrize(
    ("text", "code", "is_refused"),
    [
        ('FATAL:  password authentication failed for user "autos"', "28P01", True),
        ('FATAL:  no pg_hba.conf entry for host "h", user "u", no encryption', "28000", True),
        ('FATAL:  role "autos" is not permitted to log in', "28000", True),
        ("FATAL:  no such user: autos", "28000", True),
        ("FATAL:  connection requires a valid client certificate", "28000", True),
        ("FATAL:  unsupported startup parameter: options", "NOT_CONNECTED", True),
        ("FATAL:  SSL required", "NOT_CONNECTED", True),
        ("SSL error: tlsv13 alert certificate required", "NOT_CONNECTED", True),
        ("SSL error: unexpected eof while reading", "NO_ANSWER", False),
        ("FATAL:  no such database: autos", "3D000", True),
        ("FATAL:  no more connections allowed (max_client_conn)", "NO_ANSWER", False),
        ("FATAL:  server login has been failing, try again later", "NO_ANSWER", False),
        ("FATAL:  sorry, too many clients already", "NO_ANSWER", False),
        ("FATAL:  the database system is starting up", "NO_ANSWER", False),
    ],
)
def test_the_text_of_a_refused_session_has_its_code(text: str, code: str, is_refused: bool) -> None:
    # libpq gives no code. The embedded PostgreSQL has no passwords; `make debian` uses some.
    found = connection_failure(psycopg2.OperationalError(text))
    assert (found.code, isinstance(found, ServiceRefused)) == (code, is_refused)


@pytest.mark.parametrize(
    "option",
    [
        "connect_timeout=abc",
        "port=99999",
        "sslmode=any",
        "target_session_attrs=wrong",
        "service=any",
        "channel_binding=require",
        "options=-c%20any%3D1",
        "options=-c%20work_mem%3Dany",
    ],
)
def test_a_wrong_option_of_the_database_s_url_is_reported(env: dict[str, str], option: str) -> None:
    problem = _problem(env, DATABASE_URL=f"{env['DATABASE_URL']}&{option}")
    assert problem.startswith("DATABASE_URL: PostgreSQL refuses session: NOT_CONNECTED (")


def test_sessions_that_cannot_store_every_text_are_reported(env: dict[str, str]) -> None:
    # A worker may have another environment than the release.
    problem = _problem(env, DATABASE_URL=f"{env['DATABASE_URL']}&client_encoding=latin1")
    assert problem.startswith("DATABASE_URL: its sessions have the encoding LATIN1, and Autos")


def test_a_role_that_may_not_connect_is_reported(
    env: dict[str, str], servers: EmbeddedServers
) -> None:
    role, database = f"r{uuid4().hex}", urlsplit(env["DATABASE_URL"]).path.strip("/")
    with closing(psycopg2.connect(servers.env["DATABASE_URL"])) as connection:
        connection.autocommit = True
        rows = connection.cursor()
        names = sql.Identifier(role), sql.Identifier(database)
        rows.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(names[0]))
        rows.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(names[1]))
        try:
            url = _userinfo(env["DATABASE_URL"], lambda _: f"{role}:p")
            assert _problem(env, DATABASE_URL=url).startswith(
                "DATABASE_URL: PostgreSQL refuses session: 42501 ("
            )
        finally:
            rows.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO public").format(names[1]))
            rows.execute(sql.SQL("DROP ROLE {}").format(names[0]))


def test_a_database_that_is_too_old_is_reported() -> None:
    assert start_check.check_version(150018) == ""
    assert start_check.check_version(0) == "", "a pooler may report none"
    assert start_check.check_version(140011) == (
        "DATABASE_URL: the server is PostgreSQL 14, and Autos needs 15 or newer."
    )


@pytest.mark.parametrize(
    ("change", "report"),
    [
        ({"S3_ACCESS_KEY_ID": "unknown"}, "S3_ACCESS_KEY_ID: S3 refuses GET: InvalidAccessKeyId"),
        (
            {"S3_SECRET_ACCESS_KEY": WRONG},
            "S3_SECRET_ACCESS_KEY: S3 refuses GET: SignatureDoesNotMatch",
        ),
    ],
)
def test_a_wrong_key_of_the_bucket_is_reported(
    env: dict[str, str], objects: object, change: dict[str, str], report: str
) -> None:
    assert _problem(env, **change).startswith(report)


def test_an_endpoint_that_redirects_is_reported(env: dict[str, str], objects: object) -> None:
    with store_proxy(env["S3_ENDPOINT_URL"]) as proxy:
        proxy.rule = lambda *_: No(301, page=b"", location="https://s3.test/any")
        assert _problem(env, S3_ENDPOINT_URL=proxy.url) == (
            "S3_ENDPOINT_URL: S3 refuses GET: HTTP 301 (a redirect to https://s3.test)."
        )


def test_a_wrong_password_or_database_of_valkey_is_reported(env: dict[str, str]) -> None:
    url = env["REDIS_URL"]
    assert _problem(env, REDIS_URL=_userinfo(url, lambda _: f":{WRONG}")).startswith(
        "REDIS_URL: Valkey refuses commands: WRONGPASS (invalid username-password pair"
    )
    without = _with(url, netloc=urlsplit(url).netloc.rpartition("@")[2])
    assert "REDIS_URL: Valkey refuses commands: NOAUTH" in _problem(env, REDIS_URL=without)
    assert "DB index is out of range" in _problem(env, REDIS_URL=_with(url, path="/9999"))


@pytest.mark.parametrize(
    "answer",
    ["ERR max number of clients reached", "LOADING Redis is loading", "READONLY a replica"],
)
def test_an_answer_of_valkey_that_passes_is_no_refusal(answer: str) -> None:
    found = meaning(BaseParser.parse_error(answer))
    assert not isinstance(found, ServiceRefused)
    assert found.code == answer.partition(" ")[0]


@pytest.mark.parametrize(
    ("answer", "is_reported"),
    [("OOM no memory", False), ("MISCONF no disk", False), ("NOAUTH no password", True)],
)
def test_a_valkey_that_accepts_no_command_for_now_does_not_prevent_the_start(
    env: dict[str, str], objects: object, answer: str, *, is_reported: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_answers, args=(listener, answer), daemon=True).start()
        url = f"redis://:any@127.0.0.1:{listener.getsockname()[1]}/0"
        assert bool(_problem(env, REDIS_URL=url)) == is_reported


def _answers(listener: socket.socket, text: str) -> None:
    """Answer each command of one connection with the same error."""
    peer, _ = listener.accept()
    with peer:
        while commands := peer.recv(65536).count(b"*"):
            peer.sendall(f"-{text}\r\n".encode() * commands)


def test_the_commands_that_valkey_does_not_permit_are_named(env: dict[str, str]) -> None:
    user = f"u{uuid4().hex}"
    with redis.Redis.from_url(env["REDIS_URL"]) as admin:
        admin.acl_setuser(
            user,
            enabled=True,
            nopass=True,
            keys=["*"],
            channels=["*"],
            categories=["+@all"],
            commands=["-keys", "-blmove"],
        )
        try:
            problem = _problem(env, REDIS_URL=_userinfo(env["REDIS_URL"], lambda _: f"{user}:any"))
        finally:
            admin.acl_deluser(user)
    assert problem.startswith("REDIS_URL: Valkey refuses +keys +blmove: NOPERM (")


def test_a_wrong_scheme_or_authority_is_reported(
    env: dict[str, str], objects: object, tmp_path: Path
) -> None:
    s3, valkey = env["S3_ENDPOINT_URL"], env["REDIS_URL"]
    assert _problem(
        env,
        S3_ENDPOINT_URL=_with(s3, scheme="https"),
        REDIS_URL=_with(valkey, scheme="rediss"),
    ) == (
        "S3_ENDPOINT_URL: begins with https://, and the server has no TLS (WRONG_VERSION_NUMBER)."
        " REDIS_URL: begins with rediss://, and the server has no TLS (-NOAUTH)."
    )
    authority = Certificate.authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    with tls_front(urlsplit(s3).port or 0, tmp_path) as front:
        front.show(authority.for_loopback())
        plain = _problem(env, S3_ENDPOINT_URL=_with(front.url, scheme="http"))
        assert plain.startswith("S3_ENDPOINT_URL: begins with http://, and the server needs TLS")
        assert _problem(env, S3_ENDPOINT_URL=front.url).startswith(
            "S3_CA_FILE: S3 refuses GET: CERTIFICATE_NOT_TRUSTED ("
        )
        assert _problem(env, S3_ENDPOINT_URL=front.url, S3_CA_FILE=str(ca_file)) == ""
    with tls_front(urlsplit(valkey).port or 0, tmp_path) as front:
        front.show(authority.for_loopback())
        port = urlsplit(front.url).port
        with_tls = _with(valkey, netloc=f"{urlsplit(valkey).netloc.rpartition(':')[0]}:{port}")
        plain = _problem(env, REDIS_URL=with_tls)
        assert plain.startswith("REDIS_URL: begins with redis://, and the server needs TLS")
        with_tls = _with(with_tls, scheme="rediss")
        assert "CERTIFICATE_NOT_TRUSTED" in _problem(env, REDIS_URL=with_tls)
        assert _problem(env, REDIS_URL=f"{with_tls}?ssl_ca_certs={ca_file}") == ""


def test_a_certificate_that_has_expired_does_not_prevent_the_start(
    env: dict[str, str], objects: object, tmp_path: Path
) -> None:
    authority, ca_file = Certificate.authority(), tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    s3, valkey = env["S3_ENDPOINT_URL"], env["REDIS_URL"]
    with tls_front(urlsplit(s3).port or 0, tmp_path) as front:
        front.show(authority.expired_for_loopback())
        assert _problem(env, S3_ENDPOINT_URL=front.url, S3_CA_FILE=str(ca_file)) == ""
    with tls_front(urlsplit(valkey).port or 0, tmp_path) as front:
        front.show(authority.expired_for_loopback())
        netloc = f"{urlsplit(valkey).netloc.rpartition(':')[0]}:{urlsplit(front.url).port}"
        url = _with(valkey, netloc=netloc, scheme="rediss")
        assert _problem(env, REDIS_URL=f"{url}?ssl_ca_certs={ca_file}") == ""


def test_servers_that_are_unavailable_do_not_prevent_the_start(env: dict[str, str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        away = f"127.0.0.1:{free.getsockname()[1]}"
    assert (
        _problem(
            env,
            DATABASE_URL=f"postgresql://any@{away}/any",
            REDIS_URL=f"redis://{away}/0",
            S3_ENDPOINT_URL=f"http://{away}",
        )
        == ""
    )


@pytest.mark.parametrize(
    "command", [("server",), ("actors", "worker"), ("actors", "scheduler"), ("storage.release",)]
)
def test_every_process_ends_with_one_sentence(
    env: dict[str, str], command: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={
            **os.environ,
            **env,
            "DATABASE_URL": _with(env["DATABASE_URL"], path="/nowhere"),
            "GRPC_LISTEN": "127.0.0.1:0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    name = command[-1].removeprefix("storage.")
    assert done.stderr.count("\n") == 1
    start = f"autos {name}: DATABASE_URL: PostgreSQL refuses session: 3D000 ("
    assert done.stderr.startswith(start)
