"""The embedded servers together: PostgreSQL, Valkey and S3, as far as none is configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from dev.embedded.embedded_server import EmbeddedServer
from dev.embedded.postgres import postgres
from dev.embedded.seaweedfs import seaweedfs
from dev.embedded.valkey import valkey
from dev.folder import DataFolder
from dev.processes.deadline import until
from dev.processes.process import locked
from dev.processes.supervisor import Supervisor, WriteLine
from storage.errors import ConfigurationError

# By name: the variable that configures an external server, and the server to start without it.
Kinds = Mapping[str, tuple[str, Callable[[DataFolder], EmbeddedServer]]]
EMBEDDED: Kinds = {
    "postgres": ("DATABASE_URL", postgres),
    "valkey": ("REDIS_URL", valkey),
    "s3": ("S3_ENDPOINT_URL", seaweedfs),
}
# Generous, for a busy machine. A server that ends repeatedly is reported earlier.
READY_TIMEOUT_S = 120.0
QUICK_ENDS_MAX = 3
LOG_LINES = 10


class EmbeddedServers:
    """Running servers. `env`: the variables of their users. A server that ends is restarted."""

    def __init__(self, servers: Mapping[str, EmbeddedServer], supervisor: Supervisor) -> None:
        self.env = {key: value for s in servers.values() for key, value in s.env.items()}
        self.supervisor = supervisor
        self._servers = servers

    def await_ready(self, *names: str) -> None:
        """Return when the servers `names` (if empty: all) answer.

        Raises ConfigurationError with the end of a server's log if that server does not answer.
        """
        for name in names or self._servers:
            self._await(self._servers[name])

    def stop(self) -> None:
        """Stop all servers and remove everything but their data."""
        self.supervisor.stop()
        for server in self._servers.values():
            server.clean()

    def _await(self, server: EmbeddedServer) -> None:
        name = server.program.name

        def is_ready() -> bool:
            if self.supervisor.quick_ends_of(name) > QUICK_ENDS_MAX:
                raise TimeoutError(f"The embedded {name} ends again and again.")
            return server.is_ready()

        try:
            until(is_ready, READY_TIMEOUT_S, f"The embedded {name} does not answer.")
        except TimeoutError as error:
            raise ConfigurationError(f"{error} Its log ends:\n{_log_end(server)}") from error


def start_all(
    folder: DataFolder,
    configured: Mapping[str, str],
    write_line: WriteLine = print,
    kinds: Kinds = EMBEDDED,
) -> EmbeddedServers:
    """Start all servers on `folder` that `configured` lacks. Return when all of them answer.

    If it raises ConfigurationError, no server is left running.
    """
    prepared = {
        name: _prepared(folder, name, prepare)
        for name, (variable, prepare) in kinds.items()
        if not configured.get(variable)
    }
    programs = {name: server.program for name, server in prepared.items()}
    servers = EmbeddedServers(prepared, Supervisor(programs, {}, folder.path, write_line))
    try:
        servers.supervisor.start()
        servers.await_ready()
    except BaseException:
        servers.stop()
        raise
    return servers


def _prepared(
    folder: DataFolder, name: str, prepare: Callable[[DataFolder], EmbeddedServer]
) -> EmbeddedServer:
    # The servers of a killed owner may take a moment to end.
    with locked(folder.path / f"{name}.lock", name):
        server = prepare(folder)
    if server.program.log is not None and server.program.log.exists():
        server.program.log.replace(server.program.log.with_suffix(".old.log"))
    return server


def _log_end(server: EmbeddedServer) -> str:
    log: Path | None = server.program.log
    if log is None or not log.exists():
        return "(empty)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
