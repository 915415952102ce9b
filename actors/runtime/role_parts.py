"""Build the parts that the roles of the actors share, in each process after its fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from actors import tasks
from actors.hints.hint_channel import HintSender, make_client
from actors.leases.lease_renewer import LeaseRenewer
from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.pipeline.fetch import DocumentFetcher
from actors.pipeline.file_recorder import FileRecorder
from actors.pipeline.job_end import JobEnds
from actors.pipeline.object_writer import BucketHealth, ObjectWriter
from actors.runtime.fallback import FallbackPolling
from storage.documents import leases
from storage.jobs.change_notifications import ChangePublisher
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.refusals import STORE, RefusalWatch
from storage.settings import Settings
from storage.spool import Spool
from storage.telemetry.process_signals import MakeGauges, inherited_listener, signals_of
from storage.telemetry.signals import Signals

SEND_TIMEOUT_S = 1.0
# Connections to PostgreSQL, for the threads of one process.
CONNECTIONS = 8


class RoleParts:
    """The parts that the three roles share."""

    def __init__(
        self,
        settings: Settings,
        process: str,
        gauges: Callable[[Spool], MakeGauges] | None = None,
    ) -> None:
        stack = ExitStack()
        listener = inherited_listener(os.environ)
        self._settings = settings
        self.spool = Spool(settings.spool_dir, settings.spool_id, settings.spool_max_bytes)
        self.signals: Signals = stack.enter_context(
            signals_of(settings, process, listener, gauges(self.spool) if gauges else None)
        )
        self.close = stack.close
        self.database = make_database(settings, settings.worker_threads, self.signals)
        # Separate connections: a sender may hold leases and cannot wait as consumers do.
        sender = make_broker(
            settings.redis_url, timeout_s=SEND_TIMEOUT_S, outages=tasks.broker.outages
        )
        self.messages = Enqueuer(sender)
        self.hints = HintSender(make_client(settings.redis_url))
        self.ends = JobEnds(self.database, self.messages, self.hints)
        self.objects = Objects(
            ObjectStore.of(settings),
            max_connections=settings.worker_threads,
            watch=RefusalWatch(STORE, self.database),
        )
        renew = partial(leases.renew_leases, self.database, lease_s=settings.lease_s)
        self.renewer = LeaseRenewer(renew, lease_s=settings.lease_s)

    def writer(self) -> ObjectWriter:
        """Return the part that puts files."""
        health = BucketHealth(self._settings.worker_threads)
        return ObjectWriter(self.objects, self.spool, self.renewer, health, self.signals)

    def recorder(
        self,
        writer: ObjectWriter,
        fetcher: DocumentFetcher | None,
        is_stopping: Callable[[], bool],
    ) -> FileRecorder:
        """Return the part that records files."""
        return FileRecorder(
            database=self.database,
            spool=self.spool,
            ends=self.ends,
            writer=writer,
            fetcher=fetcher,
            is_stopping=is_stopping,
            signals=self.signals,
        )


def make_database(settings: Settings, threads: int, signals: Signals) -> Database:
    """Return a pool for `threads` threads. Its committed changes notify the watchers."""
    # Transactions take milliseconds, so threads share connections. Four are for renewals,
    # heartbeats and look-ups.
    wakeups = ChangePublisher(settings.redis_url)
    database = Database(
        settings.database_url,
        max_connections=min(threads, CONNECTIONS) + 4,
        on_change=wakeups.announce,
        on_count=signals.recorder.counted,
    )
    session_settings.log_missing(database)
    return database


def start_polling(
    poll: Callable[[Callable[[], None]], bool], threads: int, name: str
) -> FallbackPolling:
    """Start threads that poll the rows for work without messages. Return them."""
    polling = FallbackPolling(poll, threads=threads, name=name)
    polling.start()
    return polling


def all_of(*calls: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes these calls, one after the other."""

    def call_all() -> None:
        for call in calls:
            call()

    return call_all
