"""Send the proposals of a pass: one `dramatiq.group` a job."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
import redis

from actors.messaging.broker import BoundedPrefetchBroker
from actors.scheduler.policy.dispatcher import Group, ProposalMessage
from actors.tasks import download_documents, list_documents
from storage.valkey import ValkeyClock


class Proposer:
    """Send over a separate broker with short timeouts. Unsent proposals are made again."""

    def __init__(self, broker: BoundedPrefetchBroker, clock: ValkeyClock) -> None:
        self._broker = broker
        self._clock = clock

    def send(self, groups: Sequence[Group]) -> None:
        """Send all groups in one round trip. Raises redis.RedisError, or dramatiq.BrokerError."""
        if not groups:
            return
        sent_ms = self._clock.now_ms()
        with self._broker.pipelined():
            for group in groups:
                messages = [_message(group, message, sent_ms) for message in group.messages]
                dramatiq.group(messages, broker=self._broker).run()

    def can_send(self) -> bool:
        """Return whether Valkey accepts writes now."""
        try:
            return bool(self._broker.client.set("autos:scheduler", 1))
        except redis.RedisError:
            return False


def _message(group: Group, message: ProposalMessage, sent_ms: int) -> dramatiq.Message[None]:
    job_id, proposal_id = str(group.job_id), str(message.proposal_id)
    if message.is_listing:
        return list_documents.message(job_id, message.goes_on, proposal_id, sent_ms)
    return download_documents.message(job_id, message.requests, proposal_id, sent_ms)
