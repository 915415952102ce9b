"""Debian's PostgreSQL and Redis, with a role and a user that have the documented rights only."""

from __future__ import annotations

import secrets
import signal
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg2
import redis

from dev.embedded.embedded_server import EmbeddedServer
from dev.embedded.postgres import ordinary_identity
from dev.folder import DataFolder
from dev.processes.process import Program
from storage.errors import ConfigurationError
from tests.network.certificates import Certificate

POSTGRES = Path("/usr/lib/postgresql")
REDIS = Path("/usr/bin/redis-server")
MASTER = "autos-master"
# The rights of the user: docs/reference/servers.md.
COMMANDS = (
    *("+@read", "+@write", "+@pubsub", "+@scripting", "+@connection", "+@transaction"),
    *("+keys", "+time"),
)
KEYS, CHANNELS = ("~autos", "~autos:*"), ("&autos:*",)


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Raises ConfigurationError if one is missing."""
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    if not found or not REDIS.exists():
        raise ConfigurationError("Install Debian's packages postgresql and redis-server.")
    return found[-1].parent


def debian_postgres(folder: DataFolder) -> EmbeddedServer:
    """Return PostgreSQL with a role that owns a database and may do nothing else."""
    port = folder.ports("debian-postgres", ("postgres",))["postgres"]
    password, data = secrets.token_urlsafe(16), folder.path / "debian-postgres"
    sockets = folder.path / "s"
    identity = ordinary_identity(folder.path, binaries())
    for each in (data, sockets):
        each.mkdir(mode=0o700)
        identity.give(each)
    code, output = Program(
        name="initdb",
        command=(
            *(str(binaries() / "initdb"), f"--pgdata={data}", "--username=postgres"),
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"),
            "--locale=C.UTF-8",
        ),
        cwd=folder.path,
        env={"LC_ALL": "C"},
        identity=identity.name,
    ).run()
    if code:
        raise ConfigurationError(f"initdb failed: {output.strip()}")
    program = Program(
        name="postgres",
        command=(
            *(str(binaries() / "postgres"), "-D", str(data), "-k", str(sockets)),
            *("-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ),
        cwd=folder.path,
        env={"LC_ALL": "C"},
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        log=folder.subfolder("log") / "postgres.log",
        lock=folder.path / "postgres.lock",
        identity=identity.name,
    )
    admin = f"postgresql://postgres:@:{port}/postgres?host={quote(str(sockets))}"
    url = f"postgres://autos:{password}@127.0.0.1:{port}/autos"
    return EmbeddedServer(program, {"DATABASE_URL": url}, lambda: _has_role(admin, password))


def _has_role(admin: str, password: str) -> bool:
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(admin)) as connection:
        connection.autocommit = True
        with connection.cursor() as rows:
            rows.execute("SELECT 1 FROM pg_roles WHERE rolname = 'autos'")
            if rows.fetchone() is None:
                rows.execute("CREATE ROLE autos LOGIN PASSWORD %s", [password])
                rows.execute("CREATE DATABASE autos OWNER autos")
        return True
    return False


def debian_redis(folder: DataFolder) -> EmbeddedServer:
    """Return Redis at a port, a TLS port and a Unix socket, with one user of few rights."""
    ports = folder.ports("debian-redis", ("redis", "redis-tls"))
    password, data = secrets.token_urlsafe(16), folder.subfolder("redis")
    socket = data / "s"
    rights = " ".join((*KEYS, *CHANNELS, *COMMANDS))
    settings = [
        *("bind 127.0.0.1", f"port {ports['redis']}", f"unixsocket {socket}", "save ''"),
        *(f"tls-port {ports['redis-tls']}", "tls-auth-clients no", f"dir {data}"),
        *_certificate_settings(data),
        "user default off",
        f"user admin on >{password} ~* &* +@all",
        f"user autos on >{password} {rights}",
    ]
    login = f"autos:{password}@127.0.0.1"
    program = Program(
        name="redis",
        command=(str(REDIS), "-"),
        stdin="\n".join(settings) + "\n",
        cwd=data,
        env={},
        log=folder.subfolder("log") / "redis.log",
        lock=folder.path / "redis.lock",
    )
    url = f"redis://{login}:{ports['redis']}/0"
    env = {
        "REDIS_URL": url,
        "REDIS_SOCKET_URL": f"unix://autos:{password}@{socket}?db=0",
        "REDIS_TLS_URL": f"rediss://{login}:{ports['redis-tls']}/0?ssl_ca_certs={data / 'ca.pem'}",
        "REDIS_PORT": str(ports["redis"]),
        "REDIS_PASSWORD": password,
    }
    return EmbeddedServer(program, env, lambda: _answers(url))


def _certificate_settings(folder: Path) -> list[str]:
    authority = Certificate.authority()
    server = authority.for_loopback()
    files = {"ca.pem": authority.pem, "cert.pem": server.pem, "key.pem": server.key_pem}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [
        f"tls-ca-cert-file {folder / 'ca.pem'}",
        f"tls-cert-file {folder / 'cert.pem'}",
        f"tls-key-file {folder / 'key.pem'}",
    ]


def debian_sentinel(folder: DataFolder, master_port: str, password: str) -> EmbeddedServer:
    """Return a Sentinel that watches the Redis at `master_port`, with a password of its own."""
    port = folder.ports("sentinel", ("sentinel",))["sentinel"]
    data = folder.subfolder("sentinel")
    config = data / "sentinel.conf"
    config.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {data}\nrequirepass of-sentinel\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n"
        f"sentinel auth-user {MASTER} admin\nsentinel auth-pass {MASTER} {password}\n"
    )
    program = Program(
        name="sentinel",
        command=(str(REDIS), str(config), "--sentinel"),
        cwd=data,
        env={},
        log=folder.subfolder("log") / "sentinel.log",
        lock=folder.path / "sentinel.lock",
    )
    own = f"redis://:of-sentinel@127.0.0.1:{port}"
    url = (
        f"redis+sentinel://autos:{password}@127.0.0.1:{port}/{MASTER}/0"
        "?sentinel_password=of-sentinel"
    )
    return EmbeddedServer(program, {"REDIS_SENTINEL_URL": url}, lambda: _answers(own))


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1.0) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
