"""Carries out a plan of faults, each in a thread, and notes when each began and was over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from tests.chaos import outages, strikes
from tests.chaos.plan import KINDS, PlannedFault
from tests.chaos.world import ChaosEnvironment

Break = Callable[[ChaosEnvironment, PlannedFault], AbstractContextManager[None]]

BREAKS: Mapping[str, Break] = {
    "worker-kill": strikes.kill,
    "worker-term": strikes.term,
    "worker-freeze": strikes.freeze,
    "uploader-kill": strikes.kill,
    "uploader-freeze": strikes.freeze,
    "notifier-kill": strikes.kill,
    "scheduler-kill": strikes.kill,
    "scheduler-freeze": strikes.freeze,
    "server-kill": strikes.kill,
    "all-kill": strikes.kill_all,
    "host-lost": strikes.lose_host,
    "postgres-stop": outages.stop,
    "postgres-kill": outages.kill,
    "postgres-cut": outages.cut,
    "postgres-stall": outages.stall,
    "postgres-refuse": outages.refuse,
    "postgres-before-commit": outages.trap,
    "postgres-after-commit": outages.trap,
    "valkey-stop": outages.stop,
    "valkey-kill": outages.kill,
    "valkey-flush": outages.flush,
    "valkey-wipe": outages.wipe,
    "valkey-stall": outages.stall,
    "valkey-cut": outages.cut,
    "valkey-full": outages.fill,
    "valkey-lost-answers": outages.trap,
    "s3-stop": outages.stop,
    "s3-kill": outages.kill,
    "s3-stall": outages.stall,
    "s3-refuse": outages.refuse,
    "s3-503": outages.busy,
    "s3-cut-uploads": outages.trap,
    "s3-lost-answers": outages.trap,
    "portal-refuse": outages.refuse,
    "portal-stall": outages.stall,
    "portal-503": outages.busy,
    "portal-cut": outages.cut,
    "portal-cut-files": outages.trap,
}
assert BREAKS.keys() == KINDS.keys()


class FaultRunner:
    """Breaks and mends by a plan. `join` returns when all is whole again."""

    def __init__(self, environment: ChaosEnvironment, plan: Sequence[PlannedFault]) -> None:
        self._world = environment
        self._plan = plan
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._begun = time.monotonic()

    def start(self) -> None:
        """Time runs from here."""
        self._begun = time.monotonic()
        self._threads = [
            threading.Thread(target=self._strike, args=(fault,), name=str(fault), daemon=True)
            for fault in self._plan
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the last one."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Mend what is broken now and begin nothing more."""
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
        except Exception as error:  # noqa: BLE001 - it is told, and fails the run
            environment.ledger.problems.append(f"{fault} could not be carried out: {error!r}")
        environment.mended[fault.number] = time.time()
        environment.log(f"chaos    {fault} is over")
