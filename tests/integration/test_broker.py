"""The consumers of a process outlive whatever Redis does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import dramatiq
import pytest
import redis

from actors.enqueue import Messages, make_broker, upload_queue
from dev.deadline import until
from dev.folder import DataFolder
from dev.servers import EMBEDDED, Servers, start_all

DELAYED = "test.DQ"
# The workers' patience with Redis; the tests themselves have more.
TIMEOUT_S = 1.0
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A Valkey that nobody else needs."""
    folder = DataFolder(tmp_path_factory.mktemp("broker"))
    running = start_all(folder, {}, kinds={"valkey": EMBEDDED["valkey"]})
    yield running
    running.stop()
    folder.close()


@pytest.fixture
def client(valkey: Servers) -> Iterator[redis.Redis]:
    """A client of it."""
    with redis.Redis.from_url(valkey.env["REDIS_URL"]) as client:
        client.flushall()
        yield client


@contextmanager
def _working(valkey: Servers) -> Iterator[list[str]]:
    """A worker: the words that its actor was given."""
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=TIMEOUT_S)
    told: list[str] = []
    dramatiq.actor(broker=broker, queue_name="test", actor_name="tell")(told.append)
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        yield told
    finally:
        worker.stop()
        broker.client.close()


@pytest.fixture
def messages(valkey: Servers) -> Iterator[Messages]:
    """A way to the queues that a slow answer does not cut."""
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=PATIENCE_S)
    broker.declare_queue("test")
    yield Messages(broker)
    broker.client.close()


def _hold_a_delayed_message(client: redis.Redis, messages: Messages) -> None:
    """Have the consumer of the delayed messages hold one, which it gives back when it closes."""
    messages.again("test", "tell", ["late"], delay_s=600)
    until(lambda: not client.llen(f"autos:{DELAYED}"), PATIENCE_S, "It was not taken.")


def _await_delayed_message(messages: Messages, told: list[str]) -> None:
    messages.again("test", "tell", ["later"], delay_s=0.1)
    until(lambda: "later" in told, PATIENCE_S, "Delayed messages are not taken any more.")


def test_delayed_messages_are_taken_after_redis_had_no_memory_left(
    valkey: Servers, client: redis.Redis, messages: Messages
) -> None:
    with _working(valkey) as told:
        _hold_a_delayed_message(client, messages)
        client.config_set("maxmemory", 1)
        refused = int(client.info("stats")["total_error_replies"])
        until(
            lambda: int(client.info("stats")["total_error_replies"]) > refused + 5,
            PATIENCE_S,
            "Nobody was refused.",
        )
        client.config_set("maxmemory", 0)

        _await_delayed_message(messages, told)


def test_delayed_messages_are_taken_after_redis_did_not_answer(
    valkey: Servers, client: redis.Redis, messages: Messages
) -> None:
    with _working(valkey) as told:
        _hold_a_delayed_message(client, messages)
        client.client_pause(int(3 * TIMEOUT_S * 1000))
        client.ping()  # answered when the pause is over

        _await_delayed_message(messages, told)


def test_nothing_is_left_of_the_queue_of_a_dead_spool(valkey: Servers, client: redis.Redis) -> None:
    spool_id, ids = uuid4(), (uuid4(), uuid4(), uuid4())
    dead, alive = (make_broker(valkey.env["REDIS_URL"], timeout_s=PATIENCE_S) for _ in range(2))
    messages = Messages(alive)
    for delay_s in (0, 0, 60):
        messages.upload(spool_id, *ids, delay_s=delay_s)
    for queue in (upload_queue(spool_id), f"{upload_queue(spool_id)}.DQ"):
        assert dead.do_fetch(queue, 1)  # taken, and never acknowledged

    assert messages.drop_uploads(spool_id)

    assert client.keys(f"*{spool_id}*") == []
    for broker in (dead, alive):
        broker.client.close()
