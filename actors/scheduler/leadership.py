"""The leadership of one scheduler: a lease on one row, renewed by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import structlog

from storage.errors import ServiceUnavailable
from storage.postgres.database import Database
from storage.scheduling import process_rows

# A standby tries as often as the leader renews.
INTERVAL_S = 1.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Leadership:
    """Take the lease when it is free, and renew it until `stop` is called. Thread-safe.

    `can_send`: whether a write to Valkey succeeds; called before each renewal.
    """

    def __init__(self, database: Database, can_send: Callable[[], bool]) -> None:
        self._database = database
        self._can_send = can_send
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._holder: UUID | None = None
        self._leads_until = 0.0
        self._was_leading = False
        # Set by the loop after each pass. If it is not set, workers claim by themselves, whatever
        # else Valkey accepts.
        self.has_workers = True
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        """Start the thread that takes and renews the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Give the lease up at once and end the thread."""
        self._stopping.set()
        self._thread.join()

    @property
    def term(self) -> UUID | None:
        """Return the holder of the current term; None while another scheduler leads.

        A lease that could not be renewed in time is over by this process's own clock.
        """
        return self._holder if time.monotonic() < self._leads_until else None

    def await_term(self, timeout_s: float) -> UUID | None:
        """Return the current term. Wait up to `timeout_s` seconds for one."""
        if self.term is None:
            self._changed.wait(timeout_s)
            self._changed.clear()
        return self.term

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._renew()
            self._stopping.wait(INTERVAL_S)
        self._give_up()

    def _renew(self) -> None:
        if self.term is None:
            # A new random id, so that later writes of a frozen leader belong to its earlier term.
            self._holder = None
        holder = self._holder or uuid4()
        begun = time.monotonic()
        try:
            leads = process_rows.lead(self._database, holder, sends=self._sends())
        except ServiceUnavailable as error:
            log.debug("leader's lease not renewed", part=error.part)
            return
        except Exception:
            log.exception("leader's lease not renewed")
            return
        self._holder = holder if leads else None
        self._leads_until = begun + process_rows.LEASE_S if leads else 0.0
        if leads != self._was_leading:
            self._was_leading = leads
            log.info("scheduler leads" if leads else "scheduler stands by")
            self._changed.set()

    def _sends(self) -> bool:
        return self._can_send() and self.has_workers

    def _give_up(self) -> None:
        holder, self._leads_until = self._holder, 0.0
        if holder is None:
            return
        try:
            process_rows.give_up(self._database, holder)
        except ServiceUnavailable:
            log.warning("leader's lease not given up; it runs out")
