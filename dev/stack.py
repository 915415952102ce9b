"""All of Autos on this machine: the embedded servers and the Procfile's processes."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dev.embedded.embedded_servers import EMBEDDED, Kinds, start_all
from dev.embedded.sandbox import CREDENTIALS, ROOT, sandbox_portal
from dev.folder import DataFolder, RunFile, is_free, written_run_file
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor, WriteLine, as_program, describe_exit, read_procfile
from server.access.add_client import ANY, new_webhook_secret
from storage.clients.clients_file import read
from storage.environment.setting_reader import read_secret_files
from storage.errors import ConfigurationError
from storage.settings import SECRETS, Settings

RECEIVER_PORT = 8099
# `make client` makes this file in DATA_DIR. If it exists, only its clients are served.
CLIENTS_FILE = "clients.json"
# Generous, for a busy machine. A process that ends repeatedly is reported earlier.
READY_TIMEOUT_S = 120.0
QUICK_ENDS_MAX = 3
# Stand-ins for variables that embedded servers set later. With them, the other variables are
# checked before any server starts.
STAND_INS: Mapping[str, Mapping[str, str]] = {
    "DATABASE_URL": {"DATABASE_URL": "postgresql:///autos"},
    "REDIS_URL": {"REDIS_URL": "redis://127.0.0.1"},
    "S3_ENDPOINT_URL": {
        "S3_ENDPOINT_URL": "http://127.0.0.1",
        "S3_ACCESS_KEY_ID": "x",
        "S3_SECRET_ACCESS_KEY": "x",
    },
}

DEFAULT_LISTEN = "127.0.0.1:50051"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


@dataclass(frozen=True)
class Stack:
    """A running stack. `env`: the environment of its processes, secrets included."""

    run_file: RunFile
    env: Mapping[str, str] = field(repr=False)
    processes: Supervisor
    servers: Supervisor


@contextmanager
def running_stack(
    environ: Mapping[str, str],
    write_line: WriteLine = print,
    procfile: Path = ROOT / "Procfile",
    *,
    is_announced: bool = True,
    release_flags: str = "",
) -> Iterator[Stack]:
    """Start the servers and the processes, yield the stack, and stop both in reverse order.

    If `is_announced`, other programs find the stack by its run.json. `release_flags` are appended
    to the Procfile's release command. If it raises ConfigurationError, no process is left running.
    """
    files = read_secret_files(environ, SECRETS)
    if files.problems:
        raise ConfigurationError("; ".join(files.problems.values()) + ".")
    env = {name: value for name, value in files.env.items() if value.strip()}
    with ExitStack() as exit_stack:
        folder = DataFolder(Path(env.get("DATA_DIR", "var")))
        exit_stack.callback(folder.close)
        env |= _own_settings(env, folder)
        kinds = _kinds(env)
        _check(env, kinds)
        env["GRPC_LISTEN"] = free_listen_address(env.get("GRPC_LISTEN", ""), folder)
        servers = start_all(folder, env, write_line, kinds)
        exit_stack.callback(servers.stop)
        env |= servers.env
        Settings.from_env(env)
        commands = read_procfile(procfile)
        release = commands.pop("release", "")
        _release(f"{release} {release_flags}" if release else "", env, write_line)
        processes = Supervisor(commands, env, ROOT, write_line)
        exit_stack.callback(processes.stop)
        processes.start()
        address = client_address(env["GRPC_LISTEN"])
        is_tls = "GRPC_TLS_CERT_FILE" in env
        _await_ready(address, processes, is_tls=is_tls)
        is_sandbox = "portal" in kinds
        run_file = RunFile(
            address=address,
            pid=os.getpid(),
            is_sandbox=is_sandbox,
            portal_url=env["PDPJ_BASE_URL"] if is_sandbox else None,
            receiver_port=RECEIVER_PORT if is_sandbox else None,
            clients_file=env.get("AUTOS_CLIENTS_FILE"),
            is_tls=is_tls,
        )
        if is_announced:
            exit_stack.enter_context(written_run_file(folder.path, run_file))
        yield Stack(run_file, env, processes, servers.supervisor)


def _kinds(env: Mapping[str, str]) -> Kinds:
    """Return the embedded servers that may be started; no sandbox portal if another is set."""
    if any(name in env for name in CREDENTIALS):
        return EMBEDDED
    return {**EMBEDDED, "portal": ("PDPJ_BASE_URL", sandbox_portal)}


def _own_settings(env: Mapping[str, str], folder: DataFolder) -> dict[str, str]:
    """Return the settings that `make run` adds to the environment if they are not set."""
    own = {
        "DATA_DIR": str(folder.path),
        # The Procfile's `python` is this interpreter, and `autos` is this checkout's package.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "proto"), env.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
    }
    if "SPOOL_DIR" in env:
        own["SPOOL_DIR"] = str(Path(env["SPOOL_DIR"]).absolute())
    if "AUTOS_CLIENTS_FILE" not in env and (folder.path / CLIENTS_FILE).exists():
        own["AUTOS_CLIENTS_FILE"] = str(folder.path / CLIENTS_FILE)
    if "LOG_FORMAT" not in env:
        own["LOG_FORMAT"] = "text"
    if "WEBHOOK_SECRET" not in env:
        own["WEBHOOK_SECRET"] = folder.secret("webhook_secret", new_webhook_secret)
    if "AUTOS_ENCRYPTION_KEY" not in env:
        own["AUTOS_ENCRYPTION_KEY"] = folder.secret("encryption_key", new_encryption_key)
    if "portal" in _kinds(env) and "WEBHOOK_ALLOWED_HOSTS" not in env:
        receiver = f"127.0.0.1:{RECEIVER_PORT},localhost:{RECEIVER_PORT}"
        own["WEBHOOK_ALLOWED_HOSTS"] = receiver
    return own


def new_encryption_key() -> str:
    """Return a new key in the format of Fernet."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _check(env: Mapping[str, str], kinds: Kinds) -> None:
    """Raise ConfigurationError if a variable is wrong."""
    filled = dict(env)
    for variable, stand_ins in STAND_INS.items():
        if variable not in env:
            filled |= stand_ins
    if "portal" in kinds:
        filled["PDPJ_TOKEN"] = "x"  # noqa: S105 - a stand-in
    # Checked here, so that an error is reported before any process starts.
    Settings.from_env(filled)
    if file := filled.get("AUTOS_CLIENTS_FILE"):
        read(Path(file), ANY)


def _release(command: str, env: Mapping[str, str], write_line: WriteLine) -> None:
    """Run the release command to its end. Raises ConfigurationError if it fails."""
    if not command:
        return
    exit_code, output = as_program("release", command, env, ROOT).run()
    for line in output.splitlines():
        write_line(f"release | {line}")
    if exit_code:
        raise ConfigurationError(
            f"The Procfile's release failed ({describe_exit(exit_code)}); see above why."
        )


def _await_ready(address: str, processes: Supervisor, *, is_tls: bool) -> None:
    def is_ready() -> bool:
        for name in processes.names:
            if processes.quick_ends_of(name) > QUICK_ENDS_MAX:
                raise TimeoutError(f"{name} ends again and again; see above why.")
        return is_serving(address, is_tls=is_tls)

    try:
        until(is_ready, READY_TIMEOUT_S, f"The server does not answer on {address}.")
    except TimeoutError as error:
        raise ConfigurationError(str(error)) from error


def free_listen_address(listen: str, folder: DataFolder) -> str:
    """Return `listen` (host:port; if empty: the default). Port 0: a port that `folder` keeps.

    Raises ConfigurationError if the port is in use.
    """
    host, _, port = (listen or DEFAULT_LISTEN).rpartition(":")
    if port == "0":
        port = str(folder.ports("grpc", ("grpc",))["grpc"])
    if not is_free(host.strip("[]"), int(port)):
        raise ConfigurationError(
            f"GRPC_LISTEN: port {port} on {host} is in use; "
            "stop what uses it or set GRPC_LISTEN to another one."
        )
    return f"{host}:{port}"


def client_address(listen: str) -> str:
    """Return the address of a server on this machine that listens on `listen`."""
    host, _, port = listen.rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}"


# With these options a refused connection is tried again at once, not after gRPC's default second.
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.enable_http_proxy", 0))
TIMEOUT_S = 2.0


def is_serving(address: str, *, is_tls: bool = False) -> bool:
    """Return True if the standard health service at `address` (host:port) reports SERVING.

    With TLS only the handshake is checked: the server's name and its client CA are unknown here.
    """
    if is_tls:
        return _shakes_hands(address)
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _shakes_hands(address: str) -> bool:
    host, _, port = address.rpartition(":")
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    anybody.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as connection,
            anybody.wrap_socket(connection),
        ):
            return True
    except OSError:  # includes the errors of ssl
        return False
