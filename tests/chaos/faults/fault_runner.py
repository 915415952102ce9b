"""Inject a plan of faults, each in a thread, and record the start and the end of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from tests.chaos.chaos_environment import ChaosEnvironment
from tests.chaos.faults import process_faults, server_faults
from tests.chaos.faults.fault_plan import KINDS, PlannedFault

Break = Callable[[ChaosEnvironment, PlannedFault], AbstractContextManager[None]]

BREAKS: Mapping[str, Break] = {
    "worker-kill": process_faults.kill,
    "worker-term": process_faults.term,
    "worker-freeze": process_faults.freeze,
    "uploader-kill": process_faults.kill,
    "uploader-freeze": process_faults.freeze,
    "notifier-kill": process_faults.kill,
    "scheduler-kill": process_faults.kill,
    "scheduler-freeze": process_faults.freeze,
    "server-kill": process_faults.kill,
    "all-kill": process_faults.kill_all,
    "host-lost": process_faults.lose_host,
    "postgres-stop": server_faults.stop,
    "postgres-kill": server_faults.kill,
    "postgres-cut": server_faults.cut,
    "postgres-stall": server_faults.stall,
    "postgres-refuse": server_faults.refuse,
    "postgres-before-commit": server_faults.trap,
    "postgres-after-commit": server_faults.trap,
    "valkey-stop": server_faults.stop,
    "valkey-kill": server_faults.kill,
    "valkey-flush": server_faults.flush,
    "valkey-wipe": server_faults.wipe,
    "valkey-stall": server_faults.stall,
    "valkey-cut": server_faults.cut,
    "valkey-full": server_faults.fill,
    "valkey-lost-answers": server_faults.trap,
    "s3-stop": server_faults.stop,
    "s3-kill": server_faults.kill,
    "s3-stall": server_faults.stall,
    "s3-refuse": server_faults.refuse,
    "s3-503": server_faults.busy,
    "s3-cut-uploads": server_faults.trap,
    "s3-lost-answers": server_faults.trap,
    "portal-refuse": server_faults.refuse,
    "portal-stall": server_faults.stall,
    "portal-503": server_faults.busy,
    "portal-cut": server_faults.cut,
    "portal-cut-files": server_faults.trap,
}
assert BREAKS.keys() == KINDS.keys()


class FaultRunner:
    """Injects and repairs faults by a plan. `join` returns when all are repaired."""

    def __init__(self, environment: ChaosEnvironment, plan: Sequence[PlannedFault]) -> None:
        self._world = environment
        self._plan = plan
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._begun = time.monotonic()

    def start(self) -> None:
        """Start the clock of the plan."""
        self._begun = time.monotonic()
        self._threads = [
            threading.Thread(target=self._strike, args=(fault,), name=str(fault), daemon=True)
            for fault in self._plan
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the last fault."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Repair the current faults and inject no more."""
        self._stop.set()
        self.join()

    def _strike(self, fault: PlannedFault) -> None:
        environment = self._world
        if self._stop.wait(max(0.0, self._begun + fault.at_s - time.monotonic())):
            return
        environment.log(f"chaos    {fault} begins")
        environment.broken[fault.number] = time.time()
        try:
            with BREAKS[fault.kind](environment, fault):
                self._stop.wait(fault.for_s)
        except Exception as error:  # noqa: BLE001 - it is reported, and fails the run
            environment.ledger.problems.append(f"{fault} could not be carried out: {error!r}")
        environment.mended[fault.number] = time.time()
        environment.log(f"chaos    {fault} is over")
