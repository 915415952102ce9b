"""Test hints: they reach the scheduler through a list in Valkey, in order; each may be lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import uuid4

import pytest
import redis

from actors.hints.hint_channel import BATCH, KEY, MAX_HINTS, HintReceiver, HintSender
from actors.hints.hints import Hint, JobEnded, SlotFreed

WAIT_S = 60.0


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield the test's Valkey client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_hints_come_in_their_order_and_once(client: redis.Redis) -> None:
    sent: list[Hint] = [JobEnded(uuid4()), SlotFreed(uuid4(), 0.5), JobEnded(uuid4())]
    HintSender(client).send(*sent[:2])
    HintSender(client).send(sent[2])

    receiver = HintReceiver(client)

    assert receiver.receive(0) == sent
    assert receiver.receive(0) == []


def test_a_receiver_that_waits_gets_a_hint_when_it_is_sent(client: redis.Redis) -> None:
    hint = JobEnded(uuid4())
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(HintReceiver(client).receive, WAIT_S)

        HintSender(client).send(hint)

        assert received.result(WAIT_S) == [hint]


def test_the_oldest_hints_are_dropped_when_too_many_wait(client: redis.Redis) -> None:
    hints = [JobEnded(uuid4()) for _ in range(MAX_HINTS + 5)]

    HintSender(client).send(*hints)

    assert client.llen(KEY) == MAX_HINTS
    assert HintReceiver(client).receive(0) == hints[5 : 5 + BATCH]


class _BlockedClient:
    """A client with a first push that lasts until it is released."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, ...]] = []
        self.is_pushing, self.may_end = threading.Event(), threading.Event()

    def rpush(self, _key: str, *texts: str) -> int:
        self.pushes.append(texts)
        self.is_pushing.set()
        assert self.may_end.wait(WAIT_S)
        return len(texts)


def test_hints_that_come_while_a_thread_sends_go_together_in_its_next_push() -> None:
    client = _BlockedClient()
    sender = HintSender(cast("redis.Redis", client))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sender.send, JobEnded(uuid4()))
        assert client.is_pushing.wait(WAIT_S)
        sender.send(JobEnded(uuid4()), JobEnded(uuid4()))
        sender.send(JobEnded(uuid4()))
        client.may_end.set()
        first.result(WAIT_S)
    assert [len(texts) for texts in client.pushes] == [1, 3]


def test_what_is_no_hint_is_dropped_and_the_others_are_not(client: redis.Redis) -> None:
    hint = JobEnded(uuid4())
    client.rpush(KEY, "{", '["Unknown", 1]')
    HintSender(client).send(hint)

    assert HintReceiver(client).receive(0) == [hint]


def test_a_valkey_that_is_away_costs_a_sender_nothing() -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:1/0")
    HintSender(away).send(JobEnded(uuid4()))
    HintSender(away).halt(str(uuid4()))
