"""Test change notifications: sent at once, and rarely while no server listens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import pytest
import redis
from structlog.testing import capture_logs

from dev.processes.deadline import until
from storage.jobs.change_notifications import GATHER_S, UNHEARD, UNHEARD_GATHER_S, ChangePublisher


def test_notifications_without_a_listener_become_rare_until_one_listens(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Channels belong to all of Redis, and so to other tests.
    channel = f"autos:test:{uuid4()}"
    monkeypatch.setattr("storage.jobs.change_notifications.CHANNEL", channel)
    monkeypatch.setattr("storage.jobs.change_notifications.TIMEOUT_S", 20.0)
    wakeups = ChangePublisher(redis_url)
    news = {uuid4(): 7}

    unheard = [wakeups._publish(news) for _ in range(UNHEARD + 1)]
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listener:
        listener.subscribe(channel)
        assert listener.get_message(timeout=5)
        heard = wakeups._publish(news)
        message = listener.get_message(timeout=5)

    assert unheard == [GATHER_S] * (UNHEARD - 1) + [UNHEARD_GATHER_S] * 2
    assert heard == GATHER_S
    assert message


def test_no_error_ends_the_thread_that_announces() -> None:
    # No DNS label may be so long: its look-up raises UnicodeError, which is no error of Redis.
    wakeups = ChangePublisher(f"redis://{'a' * 64}.invalid")

    with capture_logs() as lines:
        for count in (1, 2):
            wakeups.announce(uuid4(), 1)
            until(partial(_has, lines, count), 60, "Nothing is announced any more.")

    assert {line["event"] for line in lines} == {"wake-ups not sent"}


def _has(lines: Sequence[object], count: int) -> bool:
    return len(lines) >= count
