"""Run everything that chaos needs: real servers behind proxies, two hosts, a portal, receivers."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dev.embedded.embedded_servers import EmbeddedServers, start_all
from dev.embedded.sandbox import ROOT
from dev.folder import DataFolder
from dev.processes.supervisor import read_procfile
from dev.stack import running_stack
from tests.chaos.acknowledgements import Acknowledgements
from tests.chaos.hosts import Host, SecondHost
from tests.network.loop_thread import LoopThread
from tests.network.proxy import Proxy
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver

TOKEN = "chaos-portal-token"
SECRET = "whsec_" + base64.b64encode(b"chaos-webhook-secret-0123456789ab").decode()
# All intervals are short, so that recoveries fit into a run.
HASTE = {
    "CLOCK_INTERVAL_MS": "500",
    "RETRY_BASE_MS": "50",
    "DOCUMENT_DEADLINE_S": "20",
    "ORPHAN_AGE_S": "5",
}
SECOND_HOST = ("worker", "uploader", "scheduler")


class ProcessLog:
    """A log file with the seconds since the start before each line. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._begun = time.monotonic()

    def __call__(self, line: str) -> None:
        """Append a line."""
        with self._lock:
            if not self._file.closed:
                self._file.write(f"{time.monotonic() - self._begun:8.3f} {line}\n")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


@dataclass
class ChaosEnvironment:
    """The parts of a run. `env` is that of the processes: its addresses are the proxies'."""

    folder: Path
    address: str
    env: Mapping[str, str] = field(repr=False)
    servers: EmbeddedServers
    proxies: Mapping[str, Proxy]
    hosts: Mapping[str, Host]
    portal: SandboxPortal
    receiver: WebhookReceiver
    sluggish: WebhookReceiver
    log: ProcessLog
    ledger: Acknowledgements = field(default_factory=Acknowledgements)
    # Start and end of each fault, in seconds since 1970, by the number of the fault.
    broken: dict[int, float] = field(default_factory=dict)
    mended: dict[int, float] = field(default_factory=dict)
    process_lines: list[str] = field(default_factory=list)

    @property
    def second(self) -> SecondHost:
        """Return the host that can be lost."""
        host = self.hosts["b"]
        assert isinstance(host, SecondHost)
        return host


@contextmanager
def running_chaos_environment(
    folder: Path, *, lease_s: int, settings: Mapping[str, str]
) -> Iterator[ChaosEnvironment]:
    """Start everything in the new folder `folder`, and stop it at the end."""
    folder.mkdir(parents=True)
    log = ProcessLog(folder / "chaos.log")
    with ExitStack() as exit_stack:
        exit_stack.callback(log.close)
        data = DataFolder(folder / "servers")
        exit_stack.callback(data.close)
        servers = start_all(data, {}, lambda line: log(f"servers  {line}"))
        exit_stack.callback(servers.stop)
        portal = exit_stack.enter_context(
            SandboxPortal(token=TOKEN, log_path=folder / "portal.jsonl")
        )
        receiver = exit_stack.enter_context(WebhookReceiver(secret=SECRET))
        sluggish = exit_stack.enter_context(WebhookReceiver(secret=SECRET))
        proxies = _proxies(exit_stack.enter_context(LoopThread()), servers, portal)
        for proxy in proxies.values():
            exit_stack.callback(proxy.close)
        own = {"DATA_DIR": str(folder / "a"), "LEASE_S": str(lease_s)}
        env = {**_env(servers, proxies), **settings, **own}
        # The callers retry and redeliver far more than one client may.
        env["CLIENT_REPEATS_PER_MINUTE"] = "1000000"
        env["WEBHOOK_ALLOWED_HOSTS"] = ",".join(
            urlsplit(r.url).netloc for r in (receiver, sluggish)
        )
        yield exit_stack.enter_context(
            _hosts(folder, env, servers, proxies, portal, (receiver, sluggish), log)
        )


def _proxies(loop: LoopThread, servers: EmbeddedServers, portal: SandboxPortal) -> dict[str, Proxy]:
    sockets = parse_qs(urlsplit(servers.env["DATABASE_URL"]).query)["host"][0]
    return {
        "postgres": Proxy(loop, Path(sockets) / ".s.PGSQL.5432"),
        "valkey": Proxy(loop, _address(servers.env["REDIS_URL"])),
        "s3": Proxy(loop, _address(servers.env["S3_ENDPOINT_URL"])),
        "portal": Proxy(loop, _address(portal.url)),
    }


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def _env(servers: EmbeddedServers, proxies: Mapping[str, Proxy]) -> dict[str, str]:
    redis_url = urlsplit(servers.env["REDIS_URL"])
    valkey = f":{redis_url.password}@127.0.0.1:{proxies['valkey'].port}"
    return {
        **servers.env,
        **HASTE,
        "GRPC_LISTEN": "127.0.0.1:0",
        "DATABASE_URL": f"postgresql://postgres:@127.0.0.1:{proxies['postgres'].port}/autos",
        "REDIS_URL": redis_url._replace(netloc=valkey).geturl(),
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{proxies['s3'].port}",
        "S3_BUCKET": "autos-chaos",
        "PDPJ_BASE_URL": f"http://127.0.0.1:{proxies['portal'].port}",
        "PDPJ_TOKEN": TOKEN,
        "WEBHOOK_SECRET": SECRET,
        "WORKER_PROCESSES": "2",
        "WORKER_THREADS": "8",
        "LOG_FORMAT": "json",
    }


@contextmanager
def _hosts(
    folder: Path,
    env: Mapping[str, str],
    servers: EmbeddedServers,
    proxies: Mapping[str, Proxy],
    portal: SandboxPortal,
    receivers: tuple[WebhookReceiver, WebhookReceiver],
    log: ProcessLog,
) -> Iterator[ChaosEnvironment]:
    lines: list[str] = []

    def note(host: str, line: str) -> None:
        lines.append(f"{host}.{line}")
        log(f"{host} {line}")

    procfile = read_procfile(ROOT / "Procfile")
    with ExitStack() as exit_stack:
        stack = exit_stack.enter_context(
            running_stack(env, lambda line: note("a", line), is_announced=False)
        )
        first = Host(stack.processes, folder / "a" / "spool")
        second = SecondHost(
            {name: procfile[name] for name in SECOND_HOST},
            {**stack.env, "WORKER_PROCESSES": "1"},
            folder / "b",
            lambda line: note("b", line),
        )
        # The variable is read at the end, because another second host may have replaced the first.
        exit_stack.callback(lambda: second.stop())
        yield ChaosEnvironment(
            folder=folder,
            address=stack.run_file.address,
            env=stack.env,
            servers=servers,
            proxies=proxies,
            hosts={"a": first, "b": second},
            portal=portal,
            receiver=receivers[0],
            sluggish=receivers[1],
            log=log,
            process_lines=lines,
        )
