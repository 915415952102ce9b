"""Start the jobs of a workload at their times, each in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import grpc

from tests.chaos.callers.caller import JobCaller
from tests.chaos.callers.retrying_client import GivenUp, RetryingClient
from tests.chaos.callers.stream_reader import StreamReader
from tests.chaos.callers.workload import JobPlan
from tests.chaos.chaos_environment import ChaosEnvironment


class Driver:
    """The callers of `numbers`, the cases of `plans`."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        client: RetryingClient,
        plans: Sequence[JobPlan],
        numbers: Sequence[str],
    ) -> None:
        self._ledger = environment.ledger
        self._stop = threading.Event()
        self._callers = [
            JobCaller(environment, client, plan, number, self._stop)
            for plan, number in zip(plans, numbers, strict=True)
        ]
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Start each job at its time; return when the last one has been started."""
        begun = time.monotonic()
        for caller in self._callers:
            if self._stop.wait(max(0.0, begun + caller.plan.at_s - time.monotonic())):
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

    @property
    def watchers(self) -> list[StreamReader]:
        """Return the watchers of the watched jobs."""
        return [caller.watcher for caller in self._callers if caller.watcher]

    def _live(self, caller: JobCaller) -> None:
        try:
            caller.live()
        except GivenUp:
            pass  # The client has recorded it.
        except grpc.RpcError as error:
            self._ledger.problems.append(f"caller {caller.plan.index}: {error!r}")
