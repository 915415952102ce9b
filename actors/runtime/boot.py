"""Dramatiq's command imports this module in each forked process. See actors/__main__.py."""

from __future__ import annotations

import os
import threading

from actors.leases.spool_heartbeat import Heartbeat
from actors.pipeline.upload import Uploader
from actors.process_context import Dependencies, Runtime
from actors.resilience.exchange_deadline import Watchdog
from actors.runtime.parent_watch import ParentWatch
from actors.runtime.role_parts import RoleParts, all_of, start_polling
from actors.runtime.worker_composition import build_worker
from actors.tasks import broker
from actors.webhook.notifier import Notifier
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookSender
from actors.webhook.webhook_tester import WebhookTester
from storage import logs
from storage.clients.client_registry import ClientLimits
from storage.clients.webhook_secrets import WebhookSecrets
from storage.settings import Settings
from storage.telemetry.process_signals import spool_gauges
from storage.webhook_policy import WebhookPolicy
from storage.webhooks.delivery_limits import DeliveryLimits

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
