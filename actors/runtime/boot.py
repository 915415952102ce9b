"""Imported by Dramatiq's command in each forked process of a role. See actors/__main__.py."""

from __future__ import annotations

import os

from actors.process_context import Dependencies, Runtime
from actors.runtime import composition
from actors.runtime.parent_watch import ParentWatch
from actors.tasks import broker
from storage import logs
from storage.settings import Settings

# The name of the variable by which the parent says which role its processes have.
ROLE = "AUTOS_ROLE"
# Above any blocking read of Dramatiq's, so that only a dead Valkey reaches it.
TIMEOUT_S = 10.0

_BUILDERS = {
    "worker": composition.build_worker,
    "uploader": composition.build_uploader,
    "notifier": composition.build_notifier,
}


def _build() -> Dependencies:
    role = os.environ[ROLE]
    settings = Settings.from_env(os.environ)
    logs.configure(settings.log_format, process=role)
    broker.connect(settings.redis_url, timeout_s=TIMEOUT_S)
    return _BUILDERS[role](settings)


broker.add_middleware(Runtime(_build))
broker.add_middleware(ParentWatch())
