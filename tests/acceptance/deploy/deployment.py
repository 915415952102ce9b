"""A new installation: settings for a database without a table and a bucket that does not exist."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from urllib.parse import urlsplit

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.sandbox.portal import SandboxPortal
from tests.system.running_autos import free_port

DEADLINE_S = 200.0


def new_installation(
    servers: EmbeddedServers, portal: SandboxPortal, folder: Path
) -> dict[str, str]:
    """Return the environment of an installation named after `folder`; nothing is released yet."""
    return {
        **servers.env,
        # Not the one of the session's Autos: messages would reach the processes of the other.
        "REDIS_URL": urlsplit(servers.env["REDIS_URL"])._replace(path="/9").geturl(),
        "DATABASE_URL": create_database(servers.env["DATABASE_URL"], folder.name),
        "S3_BUCKET": folder.name,
        "DATA_DIR": str(folder / "data"),
        "GRPC_LISTEN": f"127.0.0.1:{free_port()}",
        "PDPJ_BASE_URL": portal.url,
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "WORKER_PROCESSES": "1",
        "LOG_FORMAT": "text",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(ROOT / "proto"),
        "PYTHONUNBUFFERED": "1",
    }


def fetch(env: Mapping[str, str], case: str) -> pb.Job:
    """Start a job as soon as the server serves; return it once it has ended."""
    with grpc.insecure_channel(env["GRPC_LISTEN"]) as channel:
        api = pb_grpc.DownloadServiceStub(channel)
        request = pb.StartDownloadRequest(process_number=case)
        job = api.StartDownload(request, wait_for_ready=True, timeout=DEADLINE_S).job
        watch = pb.WatchProgressRequest(job_id=job.job_id)
        *_, last = api.WatchProgress(watch, timeout=DEADLINE_S)
        ended: pb.Job = last.job
        return ended


class Started:
    """A started program and the lines that it has written."""

    def __init__(self, process: Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """Return everything that the program has written."""
        return "".join(self.lines)

    def await_text(self, text: str) -> None:
        """Return when the program has written `text`; raise TimeoutError if it ends before."""
        until(lambda: text in self.text or not self._reader.is_alive(), DEADLINE_S, self.text)
        if text not in self.text:
            raise TimeoutError(f"It ended: {self.text}")

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line)


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str], cwd: Path = ROOT) -> Iterator[Started]:
    """Run a program; kill it at the end if it still runs."""
    process = Popen(
        command, env=dict(env), cwd=cwd, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True
    )
    program = Started(process)
    try:
        yield program
    finally:
        process.terminate()
        with suppress(TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
