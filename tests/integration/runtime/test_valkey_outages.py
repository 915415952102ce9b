"""Test that an outage of Valkey is one line of a process, and a refusal one with Valkey's code."""

from __future__ import annotations

import logging
import socket
from contextlib import closing
from uuid import uuid4

import dramatiq
import pytest
import redis
from structlog.testing import capture_logs

from actors.messaging.broker import BoundedPrefetchBroker
from actors.messaging.enqueuer import Enqueuer, make_broker
from storage import logs

TIMES = 3


def _use(broker: BoundedPrefetchBroker, messages: Enqueuer) -> None:
    """Receive and send once; neither works."""
    with pytest.raises(dramatiq.ConnectionClosed):
        next(broker.consume("test"))
    messages.send_webhooks(uuid4(), [0])


def test_an_outage_of_valkey_is_one_line_for_all_uses_and_one_for_its_end(redis_url: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        away = f"redis://127.0.0.1:{free.getsockname()[1]}/0"
    receiver = make_broker(away, timeout_s=1)
    messages = Enqueuer(make_broker(away, timeout_s=1, outages=receiver.outages))
    receiver.declare_queue("test")

    with capture_logs() as lines:
        for _ in range(TIMES):
            _use(receiver, messages)
        back = make_broker(redis_url, timeout_s=10, outages=receiver.outages)
        for _ in range(TIMES):
            next(back.consume("test"))
    back.client.close()

    shown = [line for line in lines if line["log_level"] != "debug"]
    assert [(line["event"], line.get("code")) for line in shown] == [
        ("part is unavailable", "NO_ANSWER"),
        ("part answers again", None),
    ]


def test_commands_that_valkey_refuses_are_logged_once_each_with_its_code(redis_url: str) -> None:
    user = f"u{uuid4().hex}"
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser(user, enabled=True, nopass=True, keys=["*"], commands=["+ping"])
        host = redis_url.rpartition("@")[2]
        broker = make_broker(f"redis://{user}:any@{host}", timeout_s=10)
        broker.declare_queue("test")
        try:
            with capture_logs() as lines:
                for _ in range(TIMES):
                    _use(broker, Enqueuer(broker))
        finally:
            broker.client.close()
            admin.acl_deluser(user)

    shown = [line for line in lines if line["log_level"] != "debug"]
    assert [(line["event"], line["operation"], line["code"]) for line in shown] == [
        ("part refuses", "wait", "NOPERM"),
        ("part refuses", "send", "NOPERM"),
    ]


def test_dramatiq_does_not_repeat_that_it_is_not_connected() -> None:
    # Dramatiq's texts, for its consumers and for its acknowledgements.
    for text in (
        "Consumer encountered a connection error: %s",
        "Failed to post_process_message(%s) due to a connection error: %s\nThe operation",
    ):
        line = logging.LogRecord(
            "dramatiq.worker.ConsumerThread(list)", 50, "", 0, text, None, None
        )
        assert not logs._is_fit_to_show(line)
    other = logging.LogRecord("dramatiq.worker.WorkerThread", 40, "", 0, "failed", None, None)
    assert logs._is_fit_to_show(other)
