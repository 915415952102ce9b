"""The supervisor: it restarts programs that end, and leaves none running when it stops."""

from __future__ import annotations

import shlex
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.processes.process import Process, Program, end_all
from storage.errors import ConfigurationError

# Seconds before each restart of a program that ends repeatedly. The first restart is immediate.
BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 1.5)
STEADY_S = 10.0
POLL_S = 0.05

WriteLine = Callable[[str], None]


def read_procfile(file: Path) -> dict[str, str]:
    """Return the commands of a Procfile by name, in its order."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {name.strip(): command.strip() for name, _, command in pairs}


def as_program(
    name: str,
    command: str | Sequence[str] | Program,
    env: Mapping[str, str],
    cwd: Path,
    grace_s: float = 10.0,
) -> Program:
    """Return the program of a Procfile's line. It runs without a shell, so signals reach it."""
    if isinstance(command, Program):
        return command
    words = shlex.split(command) if isinstance(command, str) else command
    return Program(name=name, command=tuple(words), cwd=cwd, env=env, grace_s=grace_s)


@dataclass
class _Kept:
    """A program and its current process (None: it waits for `start_at`, or is on hold)."""

    program: Program
    process: Process | None = None
    start_at: float = 0.0
    quick_ends: int = 0
    is_held: bool = False


class Supervisor:
    """Keeps `commands` running: by name, lines of a Procfile, lists of words, or programs.

    One thread starts and watches all processes, and they end if it ends. Several threads call
    `write_line` with the output, "name | line", and with a line for each restart.
    """

    def __init__(
        self,
        commands: Mapping[str, str | Sequence[str] | Program],
        env: Mapping[str, str],
        cwd: Path,
        write_line: WriteLine = print,
        grace_s: float = 10.0,
    ) -> None:
        self._kept = {
            name: _Kept(as_program(name, command, env, cwd, grace_s))
            for name, command in commands.items()
        }
        self._write_line = write_line
        self._lock = threading.RLock()
        self._is_stopping = threading.Event()
        self._has_started = threading.Event()
        self._readers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all programs. Return when each has been started once."""
        self._thread.start()
        self._has_started.wait()

    def stop(self) -> None:
        """Stop all programs at once; kill those that exceed their grace. It may be repeated."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def names(self) -> list[str]:
        """Return the names of the programs."""
        return list(self._kept)

    def pid_of(self, name: str) -> int | None:
        """Return the id of a program's process; None while there is none."""
        process = self._kept[name].process
        return None if process is None else process.pid

    def quick_ends_of(self, name: str) -> int:
        """Return how many consecutive times a program has ended soon after its start."""
        return self._kept[name].quick_ends

    def hold(self, name: str) -> None:
        """Stop a program and do not restart it until `release`."""
        with self._lock:
            kept = self._kept[name]
            kept.is_held = True
            if kept.process is not None:
                end_all([kept.process])
                kept.process = None

    def release(self, name: str) -> None:
        """Start a program again that is on hold."""
        with self._lock:
            self._kept[name].is_held = False
            self._kept[name].start_at = 0.0

    def _watch(self) -> None:
        while not self._is_stopping.is_set():
            with self._lock:
                for kept in self._kept.values():
                    self._tend(kept)
            self._has_started.set()
            self._is_stopping.wait(POLL_S)
        self._end_all()

    def _tend(self, kept: _Kept) -> None:
        if kept.process is not None and kept.process.has_ended():
            self._note_end(kept, kept.process)
        if kept.process is None and not kept.is_held and time.monotonic() >= kept.start_at:
            self._start(kept)

    def _start(self, kept: _Kept) -> None:
        try:
            kept.process = kept.program.start()
        except (OSError, ConfigurationError) as error:
            kept.quick_ends += 1
            kept.start_at = time.monotonic() + BACKOFF_S[-1]
            self._write_line(f"autos | {kept.program.name} cannot be started: {error}")
        else:
            self._read(kept.program.name, kept.process.output)

    def _note_end(self, kept: _Kept, process: Process) -> None:
        how = describe_exit(process.reap())
        is_quick = time.monotonic() - process.started_at < STEADY_S
        delay = BACKOFF_S[min(kept.quick_ends, len(BACKOFF_S) - 1)] if is_quick else 0.0
        kept.quick_ends = kept.quick_ends + 1 if is_quick else 0
        kept.start_at = time.monotonic() + delay
        kept.process = None
        when = f"in {delay} s" if delay else "at once"
        self._write_line(f"autos | {kept.program.name} ended ({how}); it is started again {when}")

    def _end_all(self) -> None:
        end_all([kept.process for kept in self._kept.values() if kept.process is not None])
        for kept in self._kept.values():
            kept.process = None
        for reader in self._readers:
            reader.join(timeout=1.0)

    def _read(self, name: str, output: IO[str] | None) -> None:
        if output is not None:
            self._readers = [reader for reader in self._readers if reader.is_alive()]
            reader = threading.Thread(target=self._pass_on, args=(name, output), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _pass_on(self, name: str, output: IO[str]) -> None:
        with output:
            for line in output:
                self._write_line(f"{name} | {line.rstrip()}")


def describe_exit(exit_code: int) -> str:
    """Return a readable exit code: "exit code 1", or "SIGKILL" for a killed process."""
    return f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
