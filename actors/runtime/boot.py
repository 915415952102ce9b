"""Dramatiq's command imports this module in each forked process. See actors/__main__.py.

A forked process ends when its master is gone. A killed master cannot signal its processes. They
would continue without it, with the old code after a deployment, and no supervisor would restart
them. Each of them compares its parent with the process that forked it. If they differ, it stops in
order: its leases are given back as on SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import dramatiq
import structlog

from actors.leases.heartbeats import Heartbeat
from actors.pipeline.upload import Uploader
from actors.resilience.exchange_deadline import Watchdog
from actors.runtime.role_parts import RoleParts, all_of, start_polling
from actors.runtime.worker_composition import build_worker
from actors.tasks import Dependencies, Runtime, broker
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import Notifier, WebhookSender, WebhookTester
from storage import logs
from storage.clients.client_registry import ClientLimits
from storage.clients.webhook_secrets import WebhookSecrets
from storage.settings import Settings
from storage.telemetry.process_signals import spool_gauges
from storage.webhook_policy import WebhookPolicy
from storage.webhooks.delivery_limits import DeliveryLimits

log: structlog.stdlib.BoundLogger = structlog.get_logger()

WATCH_INTERVAL_S = 0.5
# Seconds of an orderly stop, and milliseconds in it in which Dramatiq waits for threads.
GRACE_S, THREADS_MS = 40.0, 25_000


class ParentWatch(dramatiq.Middleware):
    """Watch the master of a process from its boot on.

    The stop runs in the thread that watches. A master that is killed while it waits for the boot of
    a process leaves the main thread of that process in a lock that is never released.
    """

    def __init__(self) -> None:
        self._worker: dramatiq.Worker | None = None
        self._is_stopping = False

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Start the thread that watches."""
        threading.Thread(target=self._run, name="parent-watch", daemon=True).start()

    def before_worker_boot(self, _broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Store the worker that must be stopped."""
        self._worker = worker

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Record that the process is stopping already."""
        self._is_stopping = True

    def _run(self) -> None:
        while not _master_is_gone():
            time.sleep(WATCH_INTERVAL_S)
        log.warning("master is gone; stopping")
        # If a thread hangs, its leases expire, and other processes take its work.
        threading.Timer(GRACE_S, os._exit, (1,)).start()
        if self._is_stopping:
            return
        try:
            if self._worker is not None:
                self._worker.stop(timeout=THREADS_MS)
        finally:
            os._exit(0)


def _master_is_gone() -> bool:
    """Return whether the process that forked this one has ended.

    The id of the master was taken before the fork, so an end since then is noticed, too. Without a
    master (a test, `dramatiq` under another starter) there is nothing to watch.
    """
    master = multiprocessing.parent_process()
    return master is not None and os.getppid() != master.pid


# The environment variable in which the parent names the role of its processes.
ROLE = "AUTOS_ROLE"
# Longer than any blocking read of Dramatiq, so that only a dead Valkey exceeds it.
TIMEOUT_S = 10.0


def build_uploader(settings: Settings) -> Dependencies:
    """Build an uploader: it stores the files in the spool of this host."""
    parts = RoleParts(settings, "uploader", spool_gauges)
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
    polling = start_polling(uploader.poll, settings.worker_threads, "uploader-polling")
    return Dependencies(
        _uploader=uploader, stop=all_of(polling.stop, stopping.set), close=parts.close
    )


def build_notifier(settings: Settings) -> Dependencies:
    """Build a notifier: it sends webhooks."""
    parts = RoleParts(settings, "notifier")
    posts = SignedPosts(
        WebhookClient(
            WebhookPolicy.from_entries(
                settings.webhook_allowed_hosts, allows_plaintext=bool(settings.webhook_plaintext)
            ),
            Watchdog(),
        ),
        WebhookSecrets.of(settings, ClientLimits.of(settings)),
        parts.signals,
    )
    limits = DeliveryLimits.of(settings)
    notifier = Notifier(
        WebhookSender(
            parts.database,
            parts.objects,
            posts,
            messages=parts.messages,
            signals=parts.signals,
            limits=limits,
        ),
        WebhookTester(parts.database, posts, limits),
    )
    polling = start_polling(notifier.poll, settings.worker_threads, "notifier-polling")
    return Dependencies(_notifier=notifier, stop=polling.stop, close=parts.close)


_BUILDERS = {
    "worker": build_worker,
    "uploader": build_uploader,
    "notifier": build_notifier,
}


def _build() -> Dependencies:
    role = os.environ[ROLE]
    settings = Settings.from_env(os.environ, role)
    logs.configure(settings.log_format, process=role)
    broker.connect(settings.redis_url, timeout_s=TIMEOUT_S)
    return _BUILDERS[role](settings)


broker.add_middleware(Runtime(_build))
broker.add_middleware(ParentWatch())
