"""The method of DownloadService that tries a receiver of webhooks."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import current_client
from server.rpc.service_base import Context, ServiceBase
from server.rpc.starts import start_requests
from storage.webhooks import webhook_tests
from storage.webhooks.webhook_tests import TriedTest

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Seconds between two readings of the row: the first, and the longest.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 0.5
# After this many seconds the message is sent again: the first may be lost, or have found no room.
REPEAT_S = 1.0


class WebhookMethods(ServiceBase):
    """SendTestWebhook. A notifier sends the event, as it sends webhooks: the server sends none."""

    async def SendTestWebhook(
        self, request: pb.SendTestWebhookRequest, context: Context
    ) -> pb.SendTestWebhookResponse:
        """Send a test event once. Return what came of it."""
        client, database = current_client(), self._parts.database
        url = start_requests.test_webhook(
            request,
            receivers=self._parts.receivers,
            is_signed=bool(self._parts.webhook_secrets.known(client.name)),
        )
        if client.limits:
            await self.run(
                self._parts.start_rate.count, client.name, client.limits.starts_per_minute
            )
        tried = await self._tried(await self.run(webhook_tests.create, database, client.name, url))
        log.info("receiver of webhooks tried", status_code=tried.status_code)
        return pb.SendTestWebhookResponse(
            attempt=pb.WebhookAttempt(
                number=1,
                attempt_time=timestamp(tried.attempt_time),
                status_code=tried.status_code,
                error=tried.error,
            )
        )

    async def _tried(self, test_id: UUID) -> TriedTest:
        """Return what became of a test event. Raises ServiceUnavailable."""
        loop = asyncio.get_running_loop()
        send_at, pause_s = loop.time(), FIRST_PAUSE_S
        while True:
            if loop.time() >= send_at:
                await self.run(self._parts.messages.send_test_webhook, test_id)
                send_at = loop.time() + REPEAT_S
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_PAUSE_S, 2 * pause_s)
            if tried := await self.run(webhook_tests.take_answer, self._parts.database, test_id):
                return tried
