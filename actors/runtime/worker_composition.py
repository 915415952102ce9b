"""Build the dependencies of a worker after its fork."""

from __future__ import annotations

from uuid import uuid4

from actors.hints.hint_channel import make_client
from actors.leases.heartbeats import WorkerHeartbeat
from actors.login.token_source import token_source
from actors.pipeline.fetch import DocumentFetcher
from actors.pipeline.listing_step import Lister
from actors.pipeline.prober import Prober
from actors.pipeline.request_gate import RequestGate
from actors.pipeline.slices import SliceRunner
from actors.pipeline.worker import Worker
from actors.portal.latency_recorder import LatencyRecorder
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Watchdog
from actors.runtime.halt_listener import HaltListener
from actors.runtime.role_parts import RoleParts, all_of, start_polling
from actors.tasks import Dependencies
from storage.listings.size_limits import SizeLimits
from storage.login.login_values import Login
from storage.portal.case_budget import CaseBudget
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.request_claims import ClaimContext
from storage.portal.retries import RetryPolicy
from storage.portal.slots import Limits
from storage.portal.throttle import PausePolicy
from storage.refusals import PORTAL, RefusalWatch
from storage.settings import Settings
from storage.valkey import ValkeyClock


def build_worker(settings: Settings) -> Dependencies:
    """Build a worker: it lists cases, downloads documents, and stores small ones."""
    parts = _WorkerParts(settings)
    database, renewer = parts.database, parts.renewer
    worker = parts.worker()
    polling = start_polling(worker.poll, settings.worker_threads, "worker-polling")
    heartbeat = WorkerHeartbeat(
        database, parts.spool, uuid4(), settings.worker_threads, lambda: renewer.is_stopping
    )
    heartbeat.start()
    listener = HaltListener(make_client(settings.redis_url), parts.hints.sender_id, parts.gate.halt)
    listener.start()
    return Dependencies(
        _worker=worker,
        stop=all_of(polling.stop, renewer.stop_all, heartbeat.stop, listener.stop),
        close=parts.close,
    )


class _WorkerParts(RoleParts):
    """The parts of every role, and the portal with the parts that send requests to it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "worker")
        self.watchdog = Watchdog()
        self.policy = _policy(settings)
        self.gate = RequestGate(lambda: self.renewer.is_stopping, self.hints.halt)
        self.portal = Portal(
            base_url=settings.pdpj_base_url,
            tokens=token_source(
                settings, self.database, self.watchdog, lambda: self.renewer.is_stopping
            ),
            watchdog=self.watchdog,
            document_max_bytes=settings.document_max_bytes,
            ca_file=settings.pdpj_ca_file,
            watch=RefusalWatch(PORTAL, self.database),
            on_exchange=LatencyRecorder(self.database).measured,
            signals=self.signals,
            listing_dir=settings.spool_dir,
        )

    def worker(self) -> Worker:
        """Return the part that takes proposals."""
        settings = self._settings
        return Worker(
            database=self.database,
            context=ClaimContext(
                limits=Limits.of(settings),
                login=Login.of(settings),
                probes=_probes(settings),
                spool_id=self.spool.spool_id,
                lease_s=settings.lease_s,
                budget=CaseBudget.of(settings),
            ),
            hints=self.hints,
            lister=self._lister(),
            slices=self._slices(),
            prober=Prober(
                self.database,
                self.portal,
                self.renewer,
                self.policy,
                self.hints,
                settings.lease_s,
                self.gate,
            ),
            ends=self.ends,
            renewer=self.renewer,
            now_ms=ValkeyClock(make_client(settings.redis_url)).now_ms,
        )

    def _lister(self) -> Lister:
        return Lister(
            database=self.database,
            objects=self.objects,
            portal=self.portal,
            watchdog=self.watchdog,
            ends=self.ends,
            hints=self.hints,
            renewer=self.renewer,
            policy=self.policy,
            lease_s=self._settings.lease_s,
            gate=self.gate,
            size_limits=SizeLimits.of(self._settings),
            signals=self.signals,
        )

    def _slices(self) -> SliceRunner:
        writer = self.writer()
        fetcher = DocumentFetcher(
            database=self.database,
            portal=self.portal,
            watchdog=self.watchdog,
            spool=self.spool,
            renewer=self.renewer,
            policy=self.policy,
            deadline_s=self._settings.document_deadline_s,
            lease_s=self._settings.lease_s,
            is_bucket_ready=lambda: writer.health.is_ready,
            gate=self.gate,
            ends=self.ends,
            signals=self.signals,
        )
        return SliceRunner(
            database=self.database,
            fetcher=fetcher,
            writer=writer,
            spool=self.spool,
            recorder=self.recorder(writer, fetcher, lambda: self.renewer.is_stopping),
            renewer=self.renewer,
            hints=self.hints,
        )


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
