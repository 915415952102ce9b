"""Build the dependencies of one process after its fork: worker, uploader or notifier."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from uuid import uuid4

from actors.hints.hint_channel import HintSender, make_client
from actors.leases.lease_renewer import LeaseRenewer
from actors.leases.spool_heartbeat import Heartbeat
from actors.leases.worker_heartbeat import WorkerHeartbeat
from actors.login.token_source import token_source
from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.messaging.valkey_clock import ValkeyClock
from actors.pipeline.fetch import DocumentFetcher
from actors.pipeline.file_recorder import FileRecorder
from actors.pipeline.job_end import JobEnds
from actors.pipeline.listing_step import Lister
from actors.pipeline.object_writer import BucketHealth, ObjectWriter
from actors.pipeline.probe import Prober
from actors.pipeline.request_gate import RequestGate
from actors.pipeline.slices import SliceRunner
from actors.pipeline.upload import Uploader
from actors.pipeline.worker import Worker
from actors.portal.latency_recorder import LatencyRecorder
from actors.portal.portal_client import Portal
from actors.process_context import Dependencies
from actors.resilience.exchange_deadline import Watchdog
from actors.runtime.fallback import FallbackLooks
from actors.runtime.halt_listener import HaltListener
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookSender
from storage.documents import leases
from storage.jobs.change_notifications import ChangePublisher
from storage.listings.size_limits import SizeLimits
from storage.login.logins import Login
from storage.objects.object_store import Objects, ObjectStore
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.request_claims import ClaimContext
from storage.portal.retries import RetryPolicy
from storage.portal.slots import Limits
from storage.portal.throttle import PausePolicy
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.refusals import PORTAL, STORE, RefusalWatch
from storage.settings import Settings
from storage.spool import Spool
from storage.telemetry.process_signals import (
    MakeGauges,
    inherited_listener,
    signals_of,
    spool_gauges,
)
from storage.telemetry.signals import Signals
from storage.webhook_policy import WebhookPolicy

SEND_TIMEOUT_S = 1.0
# Connections to PostgreSQL, for the threads of one process.
CONNECTIONS = 8


def build_worker(settings: Settings) -> Dependencies:
    """Build a worker: it lists cases, downloads documents, and stores small ones."""
    parts = _Parts(settings, "worker")
    database, renewer, watchdog = parts.database, parts.renewer, Watchdog()
    policy, ends = _policy(settings), parts.ends
    gate = RequestGate(lambda: renewer.is_stopping, parts.hints.halt)
    portal = Portal(
        base_url=settings.pdpj_base_url,
        tokens=token_source(settings, database, watchdog, lambda: renewer.is_stopping),
        watchdog=watchdog,
        document_max_bytes=settings.document_max_bytes,
        ca_file=settings.pdpj_ca_file,
        watch=RefusalWatch(PORTAL, database),
        on_exchange=LatencyRecorder(database).measured,
        signals=parts.signals,
    )
    lister = Lister(
        database=database,
        objects=parts.objects,
        portal=portal,
        watchdog=watchdog,
        ends=ends,
        hints=parts.hints,
        renewer=renewer,
        policy=policy,
        lease_s=settings.lease_s,
        gate=gate,
        size_limits=SizeLimits.of(settings),
        signals=parts.signals,
    )
    writer = parts.writer()
    fetcher = DocumentFetcher(
        database=database,
        portal=portal,
        watchdog=watchdog,
        spool=parts.spool,
        renewer=renewer,
        policy=policy,
        deadline_s=settings.document_deadline_s,
        lease_s=settings.lease_s,
        is_bucket_ready=lambda: writer.health.is_ready,
        gate=gate,
        ends=ends,
        signals=parts.signals,
    )
    slices = SliceRunner(
        database=database,
        fetcher=fetcher,
        writer=writer,
        spool=parts.spool,
        recorder=parts.recorder(writer, fetcher, lambda: renewer.is_stopping),
        renewer=renewer,
        hints=parts.hints,
    )
    clock = ValkeyClock(make_client(settings.redis_url))
    worker = Worker(
        database=database,
        context=ClaimContext(
            limits=Limits.of(settings),
            login=Login.of(settings),
            probes=_probes(settings),
            spool_id=parts.spool.spool_id,
            lease_s=settings.lease_s,
        ),
        hints=parts.hints,
        lister=lister,
        slices=slices,
        prober=Prober(database, portal, renewer, policy, parts.hints, settings.lease_s, gate),
        ends=ends,
        renewer=renewer,
        now_ms=clock.now_ms,
    )
    looks = _looks(worker.look, settings.worker_threads, "worker-looks")
    heartbeat = WorkerHeartbeat(
        database, parts.spool, uuid4(), settings.worker_threads, lambda: renewer.is_stopping
    )
    heartbeat.start()
    listener = HaltListener(make_client(settings.redis_url), parts.hints.sender_id, gate.halt)
    listener.start()
    return Dependencies(
        _worker=worker,
        stop=_all(looks.stop, renewer.stop_all, heartbeat.stop, listener.stop),
        close=parts.close,
    )


def build_uploader(settings: Settings) -> Dependencies:
    """Build an uploader: it stores the files in the spool of this host."""
    parts = _Parts(settings, "uploader", spool_gauges)
    # Uploads under way finish; only waits for PostgreSQL end at once.
    stopping = threading.Event()
    writer = parts.writer()
    uploader = Uploader(
        database=parts.database,
        spool=parts.spool,
        writer=writer,
        recorder=parts.recorder(writer, None, stopping.is_set),
        messages=parts.messages,
        ends=parts.ends,
        hints=parts.hints,
        lease_s=settings.lease_s,
        is_stopping=stopping.is_set,
    )
    Heartbeat(parts.database, parts.spool).start()
    looks = _looks(uploader.look, settings.worker_threads, "uploader-looks")
    return Dependencies(_uploader=uploader, stop=_all(looks.stop, stopping.set), close=parts.close)


def build_notifier(settings: Settings) -> Dependencies:
    """Build a notifier: it sends webhooks."""
    parts = _Parts(settings, "notifier")
    notifier = WebhookSender(
        database=parts.database,
        objects=parts.objects,
        poster=WebhookClient(
            WebhookPolicy.from_entries(settings.webhook_allowed_hosts), Watchdog()
        ),
        messages=parts.messages,
        secrets=settings.webhook_secrets,
        signals=parts.signals,
    )
    looks = _looks(notifier.look, settings.worker_threads, "notifier-looks")
    return Dependencies(_notifier=notifier, stop=looks.stop, close=parts.close)


class _Parts:
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
        self.messages = Enqueuer(make_broker(settings.redis_url, timeout_s=SEND_TIMEOUT_S))
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


def _looks(look: Callable[[Callable[[], None]], bool], threads: int, name: str) -> FallbackLooks:
    looks = FallbackLooks(look, threads=threads, name=name)
    looks.start()
    return looks


def _all(*calls: Callable[[], None]) -> Callable[[], None]:
    def call_all() -> None:
        for call in calls:
            call()

    return call_all


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        settings.attempts,
        settings.attempts_few,
        settings.retry_base_ms / 1000,
        PausePolicy(settings.pdpj_pause_base_ms / 1000, settings.pdpj_max_concurrent),
        _probes(settings),
    )


def _probes(settings: Settings) -> ProbePolicy:
    return ProbePolicy(settings.pdpj_probe_base_ms / 1000, settings.pdpj_probe_patience_s)
