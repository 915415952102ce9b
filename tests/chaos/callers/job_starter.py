"""Start the callers of a workload at their times, each in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import grpc

from tests.chaos.callers.batch_caller import BatchCaller
from tests.chaos.callers.caller import JobCaller
from tests.chaos.callers.case_watcher import CaseWatcher
from tests.chaos.callers.event_reader import EventReader
from tests.chaos.callers.mixed_workload import Mix
from tests.chaos.callers.retrying_client import GivenUp, RetryingClient
from tests.chaos.callers.stream_reader import StreamReader
from tests.chaos.chaos_environment import ChaosEnvironment


class Caller(Protocol):
    """A caller that begins `at_s` seconds after the start."""

    at_s: float

    @property
    def plan(self) -> object:
        """Return its plan."""

    def live(self) -> None:
        """Make all calls."""


class Driver:
    """The callers of a mix. `numbers`: the cases of its jobs. `reader`: of the log of events."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        client: RetryingClient,
        mix: Mix,
        numbers: Sequence[str],
    ) -> None:
        self._ledger = environment.ledger
        self._stop = threading.Event()
        self.reader = EventReader(client, environment.ledger)
        self._jobs = [
            JobCaller(environment, client, plan, number, self._stop)
            for plan, number in zip(mix.jobs, numbers, strict=True)
        ]
        self.case_watchers = [
            CaseWatcher(environment, client, self.reader, plan, self._stop) for plan in mix.watches
        ]
        batches = [BatchCaller(environment, client, plan, self._stop) for plan in mix.batches]
        callers: list[Caller] = [*self._jobs, *batches, *self.case_watchers]
        self._callers = sorted(callers, key=lambda caller: caller.at_s)
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Start each job at its time; return when the last one has been started."""
        begun = time.monotonic()
        self.reader.start()
        for caller in self._callers:
            if self._stop.wait(max(0.0, begun + caller.at_s - time.monotonic())):
                return
            thread = threading.Thread(target=self._live, args=(caller,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        """Wait until the callers have no more calls to make."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Let the callers make no further calls."""
        self._stop.set()
        for watcher in self.watchers:
            watcher.stop()
        self.join()
        self.reader.stop()

    @property
    def watchers(self) -> list[StreamReader]:
        """Return the watchers of the watched jobs."""
        return [caller.watcher for caller in self._jobs if caller.watcher]

    def _live(self, caller: Caller) -> None:
        try:
            caller.live()
        except GivenUp:
            pass  # The client has recorded it.
        except grpc.RpcError as error:
            self._ledger.problems.append(f"{type(caller).__name__} {caller.plan}: {error!r}")
