"""A host: processes of the Procfile with a spool of their own, like a separate machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor, WriteLine
from tests.system.running_processes import family

BACK_S = 20.0


class Host:
    """Supervised processes, and the folder with their spool."""

    def __init__(self, supervisor: Supervisor, spool: Path) -> None:
        self.supervisor = supervisor
        self.spool = spool

    @property
    def names(self) -> list[str]:
        """Return the names of its processes."""
        return self.supervisor.names

    def pids(self, name: str) -> list[int]:
        """Return the processes of a Procfile line, the leader first; none during a restart."""
        leader = self.supervisor.pid_of(name)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return family(leader) if leader else []
        return []

    def kill(self, name: str) -> None:
        """Send SIGKILL to the whole process group."""
        leader = self.supervisor.pid_of(name)
        if leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)

    def await_return(self, name: str, killed: int | None) -> None:
        """Return once another process has replaced `killed`."""
        until(
            lambda: self.supervisor.pid_of(name) not in (None, killed),
            BACK_S,
            f"{name} does not come back.",
        )

    def stop(self) -> None:
        """Stop its processes in order."""
        self.supervisor.stop()


class SecondHost(Host):
    """A host that can be lost with all its data, and be replaced by another."""

    def __init__(
        self,
        commands: Mapping[str, str],
        env: Mapping[str, str],
        folder: Path,
        write_line: WriteLine,
    ) -> None:
        self._commands = commands
        self._env = env
        self._folder = folder
        self._write_line = write_line
        super().__init__(*self._started())

    def _started(self) -> tuple[Supervisor, Path]:
        spool_id = uuid4()
        spool = self._folder / f"spool-{spool_id}"
        env = {**self._env, "SPOOL_ID": str(spool_id), "SPOOL_DIR": str(spool)}
        supervisor = Supervisor(self._commands, env, ROOT, self._write_line)
        supervisor.start()
        return supervisor, spool

    def lose(self) -> None:
        """Kill all processes and delete the disk."""
        pids = {name: self.supervisor.pid_of(name) for name in self.names}
        for pid in pids.values():
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        self.supervisor.stop()
        shutil.rmtree(self.spool, ignore_errors=True)

    def replace(self) -> None:
        """Start another machine in its place, with a spool of another name."""
        self.supervisor, self.spool = self._started()
