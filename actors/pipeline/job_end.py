"""Publish the end of a run: send its webhooks, and let the scheduler forget the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import JobEnded
from actors.messaging.enqueuer import Enqueuer
from storage.postgres.database import Database
from storage.webhooks import webhook_rows

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class JobEnds:
    """The dependencies of publishing the end of a run."""

    database: Database
    messages: Enqueuer
    hints: HintSender

    def publish(self, job_id: UUID, due_webhooks: Sequence[int] | None = None) -> None:
        """Send the webhooks of an ended job. `due_webhooks`: their positions, None to read them.

        Raises ServiceUnavailable.
        """
        log.info("job ended")
        if due_webhooks is None:
            due_webhooks = webhook_rows.due(self.database, job_id)
        self.messages.send_webhooks(job_id, due_webhooks)
        self.hints.send(JobEnded(job_id))
