"""Programs and their processes. Each has its own process group and ends with its parent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dev.processes.deadline import until
from storage.errors import ConfigurationError

LAUNCHER = Path(__file__).with_name("launch.py")
LOCK_WAIT_S = 20.0
RUN_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Program:
    """A program to start, and the way to stop it.

    `stop_signal` requests the end of the process; `grace_s` seconds later its group is killed. The
    process gets `death_signal` when the thread that started it ends, also after kill -9. `log`: the
    file for its output; if it is None, `Process.output` has the output. `lock`: a file that is
    locked until the last process of the program has ended, so that two never use one folder.
    """

    name: str
    command: tuple[str, ...] = field(repr=False)
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    stdin: str = field(default="", repr=False)
    log: Path | None = None
    lock: Path | None = None
    identity: str = "same"

    def start(self) -> Process:
        """Start the program. The process ends when the calling thread ends.

        Raises ConfigurationError if an earlier process of the program keeps `lock`.
        """
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
        with locked(self.lock, self.name) as lock, _opened(self.log) as output:
            popen = subprocess.Popen(
                [
                    *launcher,
                    str(os.getpid()),
                    str(int(self.death_signal)),
                    self.identity,
                    *self.command,
                ],
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.PIPE if self.stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if output is None else output,
                stderr=subprocess.STDOUT,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        if popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), popen.stdin as stdin:
                stdin.write(self.stdin)
        return Process(self, popen)

    def run(self) -> tuple[int, str]:
        """Run the program. Return its exit code (negative: a signal) and its output."""
        process = self.start()
        with process.output or contextlib.nullcontext() as stream:
            try:
                output = "" if stream is None else stream.read()
                until(process.has_ended, RUN_TIMEOUT_S, f"{self.name} does not end.")
            finally:
                end_all([process])
        return process.reap(), output


class Process:
    """A started program: the leader of a process group."""

    def __init__(self, program: Program, popen: subprocess.Popen[str]) -> None:
        self.program = program
        self.pid = popen.pid
        self.started_at = time.monotonic()
        self.output: IO[str] | None = popen.stdout
        self._popen = popen

    def has_ended(self) -> bool:
        """Return True if the leader has ended. No other process gets its id before `reap`."""
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def request_end(self) -> None:
        """Signal only the leader: a second signal would make Dramatiq's workers drop their work."""
        if not self.has_ended():
            os.kill(self.pid, self.program.stop_signal)

    def reap(self) -> int:
        """Kill the rest of the group. Return the leader's exit code, negative after a signal."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        return self._popen.returncode


def end_all(processes: Sequence[Process]) -> None:
    """Request the end of all processes; kill those that exceed their grace, and all children."""
    asked_at = time.monotonic()
    for process in processes:
        process.request_end()
    for process in processes:
        deadline = asked_at + process.program.grace_s
        while not process.has_ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.reap()


def lock_file(path: Path) -> int | None:
    """Return a file descriptor that holds the lock on `path`; None if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def locked(path: Path | None, name: str) -> Iterator[int | None]:
    """Wait for the lock on `path` and hold it while the context is open.

    A child that inherits the descriptor keeps the lock. Raises ConfigurationError after 20 s.
    """
    if path is None:
        yield None
        return
    deadline = time.monotonic() + LOCK_WAIT_S
    while (descriptor := lock_file(path)) is None:
        if time.monotonic() > deadline:
            raise ConfigurationError(f"An earlier {name} still holds {path}; stop it first.")
        time.sleep(0.02)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(log: Path | None) -> Iterator[int | None]:
    if log is None:
        yield None
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
