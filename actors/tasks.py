"""The pipeline: four actors, one for test events, and the dependencies of a process's actors.

A message is a hint with ids; the rows decide which row moves.

`here()` returns the dependencies that the process built after its fork. There is no Retries
middleware: attempts are rows. If a message is lost, the scheduler or a check of the rows finds its
work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import dramatiq
import structlog

from actors.messaging.broker import make_broker
from actors.messaging.enqueuer import WEBHOOK_QUEUE

if TYPE_CHECKING:
    from actors.pipeline.upload import Uploader
    from actors.pipeline.worker import Worker
    from actors.webhook.webhook_sender import Notifier

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Part = TypeVar("Part")

LIST_QUEUE = "list"
DOWNLOAD_QUEUE = "download"
# Sent to the queue of one spool, `upload.<SPOOL_ID>`: an upload runs on the host of its file.
UPLOAD_QUEUE = "upload"

broker = make_broker()
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, queue_name=LIST_QUEUE)
def list_documents(job_id: str, goes_on: bool, proposal_id: str, sent_ms: int) -> None:
    """List the case of a job, if a claim allows it now.

    Args:
        goes_on: download the first document right afterwards, if a claim allows it.
        sent_ms: when the scheduler proposed it, in milliseconds since 1970 by Valkey's clock.
    """
    here().worker.begin(UUID(job_id), 1, UUID(proposal_id), sent_ms, goes_on=goes_on)


@dramatiq.actor(broker=broker, queue_name=DOWNLOAD_QUEUE)
def download_documents(job_id: str, count: int, proposal_id: str, sent_ms: int) -> None:
    """Download up to `count` documents of a job, one after the other, if a claim allows it now."""
    here().worker.begin(UUID(job_id), count, UUID(proposal_id), sent_ms)


@dramatiq.actor(broker=broker, queue_name=UPLOAD_QUEUE)
def upload_document(job_id: str, document_id: str, lease: str) -> None:
    """Store a file from the spool of this host."""
    here().uploader.upload_document(UUID(job_id), UUID(document_id), UUID(lease))


@dramatiq.actor(broker=broker, queue_name=WEBHOOK_QUEUE)
def send_webhook(job_id: str, position: int) -> None:
    """Make the due attempt for one webhook of a job."""
    here().notifier.webhooks.send_webhook(UUID(job_id), position)


@dramatiq.actor(broker=broker, queue_name=WEBHOOK_QUEUE)
def send_test_webhook(test_id: str) -> None:
    """Send the test event that a call waits for."""
    here().notifier.tests.send_test_webhook(UUID(test_id))


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
