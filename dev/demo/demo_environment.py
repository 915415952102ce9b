"""The demo's environment: the `make run` that is running on DATA_DIR, or a stack of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc

from dev.demo.demo_console import DemoConsole, DemoFailure
from dev.folder import RunFile, owner_of, read_run_file, secret_file, write_private
from dev.processes.interrupts import pass_over_stop_signals
from dev.stack import CLIENTS_FILE, RECEIVER_PORT, is_serving, running_stack
from server.access.add_client import ANY, add_token, add_webhook_secret
from storage.clients.clients_file import read
from storage.errors import ConfigurationError
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver

# A `make run` takes 10 s to start; another demo takes 20 s in total.
OWNER_WAIT_S = 60.0
DEMO_CLIENT = "demo"
# The demo's own stack is embedded, on loopback, and uses the sandbox. It ignores these settings.
NOT_FOR_DEMO = (
    *("DATABASE_URL", "REDIS_URL", "S3_", "PDPJ_"),
    *("GRPC_LISTEN", "GRPC_TLS_", "AUTOS_CLIENTS_FILE", "METRICS_LISTEN", "WEBHOOK_ALLOWED_HOSTS"),
)

END_LINES = 12


@dataclass(frozen=True)
class DemoEnvironment:
    """A running Autos on the sandbox portal, and a webhook receiver that it may call."""

    address: str
    portal_url: str
    receiver: WebhookReceiver
    secret: str = field(repr=False)
    is_ours: bool
    token: str | None = field(default=None, repr=False)


@contextmanager
def opened_environment(
    environ: Mapping[str, str], screen: DemoConsole
) -> Iterator[DemoEnvironment]:
    """Yield the running `make run`, or start a stack and stop it at the end.

    Raises DemoFailure or ConfigurationError.
    """
    data_dir = Path(environ.get("DATA_DIR", "").strip() or "var")
    run_file = _running(data_dir, screen)
    if run_file is not None:
        with _joined(run_file, environ, data_dir) as place:
            screen.done("Servers", f"those of `make run`, on {place.address}")
            yield place
    else:
        with _own(environ, data_dir, screen) as place:
            yield place


def _running(data_dir: Path, screen: DemoConsole) -> RunFile | None:
    """Return the run file of `make run` once it is ready; None if the folder has no owner."""
    if (owner := owner_of(data_dir)) is None:
        return None
    if run_file := _ready(data_dir, owner):
        return run_file
    deadline = time.monotonic() + OWNER_WAIT_S
    with screen.waiting(f"waiting for process {owner}, which has {data_dir} in use"):
        while (owner := owner_of(data_dir)) is not None:
            if run_file := _ready(data_dir, owner):
                return run_file
            if time.monotonic() > deadline:
                raise DemoFailure(
                    f"{data_dir} is in use by process {owner}, which is no `make run` that "
                    "answers; stop it or set DATA_DIR to another folder."
                )
            time.sleep(0.1)
    return None


def _ready(data_dir: Path, owner: str) -> RunFile | None:
    run_file = read_run_file(data_dir)
    # If the file names another process, a killed `make run` left it behind.
    if (
        run_file is None
        or str(run_file.pid) != owner
        or not is_serving(run_file.address, is_tls=run_file.is_tls)
    ):
        return None
    return run_file


@contextmanager
def _joined(
    run_file: RunFile, environ: Mapping[str, str], data_dir: Path
) -> Iterator[DemoEnvironment]:
    if not run_file.is_sandbox or run_file.portal_url is None:
        raise DemoFailure(
            f"The `make run` on {run_file.address} does not use the sandbox portal, and the demo "
            "uses no other; stop it or set DATA_DIR to another folder."
        )
    if run_file.is_tls:
        raise DemoFailure(
            f"The `make run` on {run_file.address} serves with TLS, and the demo calls without; "
            "stop it or set DATA_DIR to another folder."
        )
    token = demo_token(run_file.clients_file, data_dir, environ)
    secret = environ.get("WEBHOOK_SECRET", "").strip()
    file = secret_file(data_dir, "webhook_secret")
    if not secret and not file.exists():
        raise DemoFailure(
            "`make run` was given a WEBHOOK_SECRET of its own; give `make demo` the same one, "
            "or it cannot verify the webhook."
        )
    secret = secret or file.read_text().strip()
    secret = demo_secret(run_file.clients_file, environ, secret)
    with _receiver(run_file.receiver_port or RECEIVER_PORT) as receiver:
        yield DemoEnvironment(run_file.address, run_file.portal_url, receiver, secret, False, token)


@contextmanager
def _receiver(port: int) -> Iterator[WebhookReceiver]:
    """Yield a webhook receiver on the port to which `make run` may send webhooks."""
    with ExitStack() as exit_stack:
        try:
            receiver = exit_stack.enter_context(WebhookReceiver(port))
        except OSError as error:
            raise DemoFailure(
                f"Port {port}, to which `make run` may send the demo's webhooks, is in use; "
                "stop what uses it (another `make demo`?)."
            ) from error
        yield receiver


@contextmanager
def _own(
    environ: Mapping[str, str], data_dir: Path, screen: DemoConsole
) -> Iterator[DemoEnvironment]:
    begun = time.monotonic()
    log = DemoLog(data_dir / "log" / "demo.log")
    with WebhookReceiver() as receiver, ExitStack() as exit_stack:
        env = _own_env(environ, receiver, screen)
        with screen.waiting("starting PostgreSQL, Valkey, S3, the sandbox portal and Autos"):
            try:
                stack = exit_stack.enter_context(running_stack(env, log, is_announced=False))
            except ConfigurationError:
                log.show_end(screen)
                raise
        screen.done(
            "Servers",
            "PostgreSQL, Valkey, S3, a sandbox portal and Autos itself are up"
            f" ({time.monotonic() - begun:.1f} s)",
            f"gRPC on {stack.run_file.address}; what they log goes to {log.path}",
        )
        secret, portal_url = stack.env["WEBHOOK_SECRET"], stack.env["PDPJ_BASE_URL"]
        try:
            token = demo_token(stack.run_file.clients_file, data_dir, environ)
            secret = demo_secret(stack.run_file.clients_file, environ, secret)
            yield DemoEnvironment(stack.run_file.address, portal_url, receiver, secret, True, token)
        except (DemoFailure, grpc.RpcError, OSError):
            screen.line(f"What the servers and processes logged is in {log.path}.")
            raise
        finally:
            pass_over_stop_signals()
            with screen.waiting("stopping what was started"):
                exit_stack.close()


def _own_env(
    environ: Mapping[str, str], receiver: WebhookReceiver, screen: DemoConsole
) -> dict[str, str]:
    env = {name: value for name, value in environ.items() if not name.startswith(NOT_FOR_DEMO)}
    left_out = [name for name, value in environ.items() if name not in env and value.strip()]
    if left_out:
        names = ", ".join(sorted(left_out))
        screen.line(f"The demo has servers of its own and does not use {names}.", "yellow")
    allowed = receiver.url.split("/")[2]
    return env | {"GRPC_LISTEN": "127.0.0.1:0", "WEBHOOK_ALLOWED_HOSTS": allowed}


def demo_token(clients_file: str | None, data_dir: Path, environ: Mapping[str, str]) -> str | None:
    """Return a token for the demo: AUTOS_TOKEN, or that of its own client `demo` in DATA_DIR.

    Return None if the server requires no token. Raises DemoFailure.
    """
    given = environ.get("AUTOS_TOKEN", "").strip()
    if clients_file is None or given:
        return given or None
    if Path(clients_file) != data_dir.absolute() / CLIENTS_FILE:
        raise DemoFailure(
            f"`make run` serves the clients in {clients_file}; give `make demo` a token of one of "
            "them in AUTOS_TOKEN."
        )
    file = secret_file(data_dir, "demo_token")
    token = file.read_text().strip() if file.exists() else None
    token = add_token(Path(clients_file), DEMO_CLIENT, token).token
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(file, token + "\n")
    return token


def demo_secret(clients_file: str | None, environ: Mapping[str, str], shared: str) -> str:
    """The secret that signs the demo's webhooks: `shared`, or one of the client `demo`'s own."""
    if clients_file is None or environ.get("AUTOS_TOKEN", "").strip():
        return shared
    known = read(Path(clients_file), ANY).webhook_secrets
    if own := known[DEMO_CLIENT]:
        return own[0]
    return shared if len(known) == 1 else add_webhook_secret(Path(clients_file), DEMO_CLIENT)


class DemoLog:
    """Writes a line at each call, from any thread. The first line truncates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stream: IO[str] | None = None
        self._end: deque[str] = deque(maxlen=END_LINES)

    def __call__(self, line: str) -> None:
        """Write a line and flush it."""
        with self._lock:
            if self._stream is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._stream = self.path.open("w", encoding="utf-8", buffering=1)
            self._stream.write(f"{line}\n")
            self._end.append(line)

    def show_end(self, screen: DemoConsole) -> None:
        """Print the last lines, which show why a start failed."""
        with self._lock:
            lines = list(self._end)
        for line in lines:
            screen.line(f"  {line}", "dim")
        if lines:
            screen.line(f"All of it is in {self.path}.")
