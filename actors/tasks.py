"""The pipeline: four actors, and one for test events.

A message is a hint with ids; the rows decide which row moves.

`here()` returns the dependencies that the process built after its fork. There is no Retries
middleware: attempts are rows. If a message is lost, the scheduler or a check of the rows finds its
work.
"""

from __future__ import annotations

from uuid import UUID

import dramatiq

from actors.messaging.broker import make_broker
from actors.process_context import here

LIST_QUEUE = "list"
DOWNLOAD_QUEUE = "download"
# Sent to the queue of one spool, `upload.<SPOOL_ID>`: an upload runs on the host of its file.
UPLOAD_QUEUE = "upload"
WEBHOOK_QUEUE = "webhook"

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
