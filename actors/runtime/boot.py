"""Dramatiq's command imports this module in each forked process. See actors/__main__.py."""

from __future__ import annotations

import os

from actors.process_context import Dependencies, Runtime
from actors.runtime.composition import build_notifier, build_uploader
from actors.runtime.parent_watch import ParentWatch
from actors.runtime.worker_composition import build_worker
from actors.tasks import broker
from storage import logs
from storage.settings import Settings

# The environment variable in which the parent names the role of its processes.
ROLE = "AUTOS_ROLE"
# Longer than any blocking read of Dramatiq, so that only a dead Valkey exceeds it.
TIMEOUT_S = 10.0

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
