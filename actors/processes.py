"""The composition roots of the worker, the uploader, the notifier and the clock.

Each of the first three is called by Dramatiq in a process of its own, after the fork: it makes the
clients, declares the actors of its queues and sets the broker, Dramatiq's one global.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from uuid import UUID

import dramatiq
import redis
import structlog

from actors import enqueue
from actors.asker import Asker
from actors.clock import Clock
from actors.deadline import Watchdog
from actors.delivery import Notifier
from actors.download import Downloader
from actors.enqueue import Messages, make_broker
from actors.heartbeat import Heartbeat
from actors.keeper import Keeper
from actors.listing import Lister
from actors.meter import Meter
from actors.portal import Portal
from actors.prober import Prober
from actors.receiver import WebhookPoster
from actors.runtime.broker import BoundedPrefetchBroker
from actors.runtime.parent_watch import ParentWatch
from actors.storing import Storer
from actors.sweeper import Sweeper
from actors.tokens import token_source
from actors.upload import Uploader
from storage import logs, session_settings
from storage.courts import ProbePolicy
from storage.database import Database
from storage.documents.leases import renew_leases
from storage.errors import ServiceUnavailable
from storage.listings.size_limits import SizeLimits
from storage.logins import Login
from storage.objects import Objects, ObjectStore
from storage.pauses import PausePolicy
from storage.receivers import Receivers
from storage.refusals import PORTAL, STORE, RefusalWatch
from storage.retries import RetryPolicy, jittered
from storage.settings import Settings
from storage.slots import Limits
from storage.spool import NOWHERE, Spool
from storage.tasks import Asking
from storage.telemetry.listener import listen
from storage.telemetry.process import MakeGauges, inherited_listener, signals_of, spool_gauges
from storage.telemetry.signals import Signals
from storage.wakeups import Wakeups

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Above any blocking read of Dramatiq's, so that only a dead Redis reaches it.
REDIS_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 1.0
# To PostgreSQL, for the threads of one process.
CONNECTIONS = 8
# How long a message waits that came while PostgreSQL or S3 was away.
OUTAGE_DELAY_S = 2.0


class _StopOnShutdown(dramatiq.Middleware):
    """Lets work give its lease back when the process is told to stop; `close` comes after it."""

    def __init__(self, *stops: Callable[[], None], close: Callable[[], None]) -> None:
        self._stops = stops
        self._close = close

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        for stop in self._stops:
            stop()

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self._close()


def _database(settings: Settings, threads: int, signals: Signals) -> Database:
    # Transactions take milliseconds, so threads share; three are for keepers and the heartbeat.
    wakeups = Wakeups(settings.redis_url)
    database = Database(
        settings.database_url,
        max_connections=min(threads, CONNECTIONS) + 3,
        on_change=wakeups.announce,
        on_count=signals.recorder.counted,
    )
    session_settings.log_missing(database)
    return database


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


def _asking(settings: Settings, spool_id: UUID) -> Asking:
    return Asking(
        limits=Limits.of(settings),
        login=Login.of(settings),
        probes=_probes(settings),
        spool_id=spool_id,
        lease_s=settings.lease_s,
    )


def _spool(settings: Settings) -> Spool:
    return Spool(settings.spool_dir, settings.spool_id, settings.spool_max_bytes)


def _told(
    settings: Settings, process: str, gauges: MakeGauges | None = None
) -> tuple[Signals, Callable[[], None]]:
    """The signals of a forked process, and what ends them."""
    stack = ExitStack()
    listener = inherited_listener(os.environ)
    signals = stack.enter_context(signals_of(settings, process, listener, gauges))
    return signals, stack.close


def _begin(process: str) -> tuple[Settings, BoundedPrefetchBroker, Messages]:
    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_format, process=process)
    broker = make_broker(settings.redis_url, timeout_s=REDIS_TIMEOUT_S)
    dramatiq.set_broker(broker)
    broker.add_middleware(ParentWatch())
    return settings, broker, _messages(settings)


def _messages(settings: Settings) -> Messages:
    """Sent over connections of their own: who sends holds a lease, and cannot wait as takers do."""
    return Messages(make_broker(settings.redis_url, timeout_s=SEND_TIMEOUT_S))


def _declare(
    broker: BoundedPrefetchBroker,
    messages: Messages,
    queue: str,
    name: str,
    work: Callable[..., None],
) -> None:
    """Makes `work` the actor `name`.

    An outage while it works is no bug: the row stays as it is, and the message comes again. Were
    that left to the clock, whose intervals grow, a job could stand still for a minute.
    """

    def calm(*ids: str | int) -> None:
        try:
            work(*(UUID(i) if isinstance(i, str) else i for i in ids))
        except ServiceUnavailable as error:
            log.warning("put off", job_id=str(ids[0]), part=error.part)
            messages.again(queue, name, ids, delay_s=jittered(OUTAGE_DELAY_S))

    # No retries and no time limit of Dramatiq's: attempts are rows and limits are leases.
    dramatiq.actor(broker=broker, queue_name=queue, actor_name=name)(calm)


def worker() -> None:
    """Lists cases, downloads documents, and stores small ones."""
    settings, broker, messages = _begin("worker")
    signals, close = _told(settings, "worker")
    database = _database(settings, settings.worker_threads, signals)
    watchdog = Watchdog()
    keeper = Keeper(
        partial(renew_leases, database, lease_s=settings.lease_s), lease_s=settings.lease_s
    )
    portal = Portal(
        base_url=settings.pdpj_base_url,
        tokens=token_source(settings, database, watchdog, lambda: keeper.is_stopping),
        watchdog=watchdog,
        document_max_bytes=settings.document_max_bytes,
        on_exchange=Meter(database).measured,
        signals=signals,
        ca_file=settings.pdpj_ca_file,
        watch=RefusalWatch(PORTAL, database),
    )
    objects = Objects(
        ObjectStore.of(settings),
        max_connections=settings.worker_threads,
        watch=RefusalWatch(STORE, database),
    )
    lister = Lister(
        database=database,
        objects=objects,
        portal=portal,
        watchdog=watchdog,
        messages=messages,
        keeper=keeper,
        policy=_policy(settings),
        lanes=settings.lanes_per_job,
        lease_s=settings.lease_s,
        size_limits=SizeLimits.of(settings),
        signals=signals,
    )
    spool = _spool(settings)
    storer = Storer(
        database=database,
        objects=objects,
        spool=spool,
        messages=messages,
        keeper=keeper,
        is_stopping=lambda: keeper.is_stopping,
        lanes=settings.lanes_per_job,
        threads=settings.worker_threads,
        signals=signals,
    )
    downloader = Downloader(
        database=database,
        portal=portal,
        watchdog=watchdog,
        spool=spool,
        messages=messages,
        keeper=keeper,
        policy=_policy(settings),
        deadline_s=settings.document_deadline_s,
        per_court=settings.pdpj_max_concurrent_per_court,
        storer=storer,
        signals=signals,
    )
    asker = Asker(
        database=database,
        messages=messages,
        asking=_asking(settings, spool.spool_id),
        keeper=keeper,
        lister=lister,
        downloader=downloader,
        prober=Prober(database, portal, keeper, _policy(settings), settings.lease_s),
        storer=storer,
        threads=settings.worker_threads,
    )
    broker.add_middleware(_StopOnShutdown(keeper.stop_all, close=close))
    _declare(broker, messages, enqueue.LIST_QUEUE, "list_documents", asker.list_documents)
    _declare(broker, messages, enqueue.DOWNLOAD_QUEUE, "download_document", asker.download_document)


def uploader() -> None:
    """Stores what lies in this host's spool."""
    settings, broker, messages = _begin("uploader")
    spool = _spool(settings)
    signals, close = _told(settings, "uploader", spool_gauges(spool))
    database = _database(settings, settings.worker_threads, signals)
    # Uploads that are under way finish; only waiting for PostgreSQL ends at once.
    stopping = threading.Event()
    broker.add_middleware(_StopOnShutdown(stopping.set, close=close))
    storer = Storer(
        database=database,
        objects=Objects(
            ObjectStore.of(settings),
            max_connections=settings.worker_threads,
            watch=RefusalWatch(STORE, database),
        ),
        spool=spool,
        messages=messages,
        keeper=Keeper(
            partial(renew_leases, database, lease_s=settings.lease_s), lease_s=settings.lease_s
        ),
        is_stopping=stopping.is_set,
        lanes=settings.lanes_per_job,
        threads=settings.worker_threads,
        signals=signals,
    )
    work = Uploader(
        database=database,
        spool=spool,
        messages=messages,
        storer=storer,
        lease_s=settings.lease_s,
        threads=settings.worker_threads,
    )
    Heartbeat(database, spool).start()
    queue = enqueue.upload_queue(spool.spool_id)
    _declare(broker, messages, queue, "upload_document", work.upload_document)


def notifier() -> None:
    """Sends webhooks."""
    settings, broker, messages = _begin("notifier")
    signals, close = _told(settings, "notifier")
    broker.add_middleware(_StopOnShutdown(close=close))
    work = Notifier(
        database=_database(settings, settings.worker_threads, signals),
        objects=Objects(ObjectStore.of(settings), max_connections=1),
        poster=WebhookPoster(Receivers.from_entries(settings.webhook_allowed_hosts), Watchdog()),
        messages=messages,
        secrets=settings.webhook_secrets,
        signals=signals,
    )
    _declare(broker, messages, enqueue.WEBHOOK_QUEUE, "send_webhook", work.send_webhook)


def run_clock(stop: threading.Event) -> None:
    """Repairs until `stop` is set. Raises ConfigurationError when its page has no address."""
    settings, _, messages = _begin("clock")
    listener = listen(settings.metrics_listen, "clock") if settings.metrics_listen else None
    with signals_of(settings, "clock", listener) as signals:
        _repair(settings, messages, _database(settings, 2, signals), stop)


def _repair(
    settings: Settings, messages: Messages, database: Database, stop: threading.Event
) -> None:
    clock = Clock(
        database=database,
        redis=redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=SEND_TIMEOUT_S,
            socket_connect_timeout=SEND_TIMEOUT_S,
        ),
        messages=messages,
        # The clock claims nothing.
        asking=_asking(settings, NOWHERE),
        interval_s=settings.clock_interval_ms / 1000,
    )
    watch = RefusalWatch(STORE, database)
    objects = Objects(ObjectStore.of(settings), max_connections=2, watch=watch)
    Sweeper(database, objects, settings.orphan_age_s).start(stop)
    log.info("clock running")
    clock.run(stop)
