"""The dependencies of a process's actors, built once, after the fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import dramatiq
import structlog

if TYPE_CHECKING:
    from actors.pipeline.upload import Uploader
    from actors.pipeline.worker import Worker
    from actors.webhook.notifier import Notifier


log: structlog.stdlib.BoundLogger = structlog.get_logger()

Part = TypeVar("Part")


@dataclass
class Dependencies:
    """The parts of one role; a process has only those of its own role."""

    _worker: Worker | None = None
    _uploader: Uploader | None = None
    _notifier: Notifier | None = None
    # Called when the process receives its stop signal, before its threads are joined.
    stop: Callable[[], None] = lambda: None
    # Called when its threads have ended.
    close: Callable[[], None] = lambda: None

    @property
    def worker(self) -> Worker:
        """Return the part of `worker`."""
        return _present(self._worker)

    @property
    def uploader(self) -> Uploader:
        """Return the part of `uploader`."""
        return _present(self._uploader)

    @property
    def notifier(self) -> Notifier:
        """Return the part of `notifier`."""
        return _present(self._notifier)


def _present(part: Part | None) -> Part:
    if part is None:
        raise LookupError("the process of another role took this message")
    return part


_here: list[Dependencies] = []


def here() -> Dependencies:
    """Return the dependencies that this process built after its fork."""
    return _here[-1]


class Runtime(dramatiq.Middleware):
    """Build the dependencies of a process after its boot, and close them at its end."""

    def __init__(self, build: Callable[[], Dependencies]) -> None:
        self._build = build

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Build the dependencies of this process's actors. End the process if that fails.

        Dramatiq logs the error of a middleware and goes on. The process would take messages, and
        fail each of them.
        """
        try:
            _here.append(self._build())
        except Exception:
            log.exception("the process cannot work, so it ends")
            raise SystemExit(1) from None

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Let running work give its leases back."""
        here().stop()

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Close the dependencies."""
        here().close()
