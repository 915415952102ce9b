"""The consumers of a process wait at Redis, and outlive whatever it does."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import dramatiq
import pytest
import redis

from actors.enqueue import DOWNLOAD_QUEUE, QUIET_S, Messages, make_broker, upload_queue
from actors.runtime.broker import IDLE_S
from dev.deadline import until
from dev.folder import DataFolder
from dev.servers import EMBEDDED, Servers, start_all
from tests.stopwatch import quickest

DELAYED = "test.DQ"
# How long Redis does not answer: above the worker's patience.
SILENCE_S = 3 * IDLE_S
# Far below IDLE_S: what took so long was not found by looking now and then.
AT_ONCE_S = 0.2
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
def _working(
    valkey: Servers, *others: str, work: Callable[[str], None] = lambda _word: None
) -> Iterator[list[str]]:
    """A worker with one thread: the words that its actor, once a queue, was given and has done."""
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=2 * IDLE_S)
    told: list[str] = []

    def tell(word: str) -> None:
        work(word)
        told.append(word)

    for queue in ("test", *others):
        dramatiq.actor(broker=broker, queue_name=queue, actor_name=f"tell_{queue}")(tell)
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.queue_prefetch = 1
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
    for queue in ("test", "other"):
        broker.declare_queue(queue)
    yield Messages(broker)
    broker.client.close()


def _hold_a_delayed_message(client: redis.Redis, messages: Messages) -> None:
    """Have the consumer of the delayed messages hold one, which it gives back when it closes."""
    messages.again("test", "tell_test", ["late"], delay_s=600)
    until(lambda: not client.llen(f"autos:{DELAYED}"), PATIENCE_S, "It was not taken.")


def _waiting(client: redis.Redis) -> int:
    """How many consumers wait for a message."""
    return int(client.info("clients")["blocked_clients"])


def _told_after_s(messages: Messages, told: list[str], word: str, *, delay_s: float = 0) -> float:
    begun = time.monotonic()
    messages.again("test", "tell_test", [word], delay_s=delay_s)
    until(lambda: word in told, PATIENCE_S, "It is not told.")
    return time.monotonic() - begun


def test_a_message_is_taken_at_once_by_who_waits(
    valkey: Servers, client: redis.Redis, messages: Messages
) -> None:
    words = map(str, itertools.count())

    def took_s() -> float:
        until(lambda: _waiting(client) == 2, PATIENCE_S, "Nobody waits.")
        return _told_after_s(messages, told, next(words))

    with _working(valkey) as told:
        assert quickest(took_s, AT_ONCE_S) < AT_ONCE_S


def test_a_delayed_message_is_taken_when_it_is_due(
    valkey: Servers, client: redis.Redis, messages: Messages
) -> None:
    words, delay_s = map(str, itertools.count()), IDLE_S / 4

    def took_s() -> float:
        return _told_after_s(messages, told, next(words), delay_s=delay_s)

    with _working(valkey) as told:
        _hold_a_delayed_message(client, messages)
        assert delay_s <= quickest(took_s, delay_s + AT_ONCE_S) < delay_s + AT_ONCE_S


def test_a_consumer_that_waits_asks_redis_seldom(valkey: Servers, client: redis.Redis) -> None:
    def fetches() -> int:
        return int(client.info("commandstats")["cmdstat_blmove"]["calls"])

    with _working(valkey):
        until(lambda: _waiting(client) == 2, PATIENCE_S, "Nobody waits.")
        before, begun = fetches(), time.monotonic()
        until(lambda: fetches() >= before + 4, PATIENCE_S, "Nobody asks.")

        # Two consumers, each of which may have been at the end of a wait.
        assert time.monotonic() - begun > IDLE_S * 0.9


def test_a_process_takes_no_more_than_it_has_threads_and_more_when_one_is_free(
    valkey: Servers, client: redis.Redis, messages: Messages
) -> None:
    go_on = threading.Event()

    def took_s() -> float:
        go_on.clear()
        told.clear()
        for queue in ("test", "other"):
            messages.again(queue, f"tell_{queue}", [queue], delay_s=0)
        until(lambda: _left(client) == 1, PATIENCE_S, "No message is taken.")
        begun = time.monotonic()
        go_on.set()
        until(lambda: len(told) == 2, PATIENCE_S, "The second is not taken.")
        return time.monotonic() - begun

    def work(_word: str) -> None:
        assert go_on.wait(PATIENCE_S)

    with _working(valkey, "other", work=work) as told:
        assert quickest(took_s, AT_ONCE_S) < AT_ONCE_S


def _left(client: redis.Redis) -> int:
    return sum(client.llen(f"autos:{queue}") for queue in ("test", "other"))


def _await_delayed_message(messages: Messages, told: list[str]) -> None:
    messages.again("test", "tell_test", ["later"], delay_s=0.1)
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
        client.client_pause(int(SILENCE_S * 1000))
        client.ping()  # answered when the pause is over

        _await_delayed_message(messages, told)


def test_no_more_messages_are_sent_than_wake_somebody_unless_they_must_be(
    client: redis.Redis, messages: Messages
) -> None:
    spool_id, ids = uuid4(), (uuid4(), uuid4(), uuid4())
    messages.wake_lanes(ids[0], 3)
    for _ in range(5):
        messages.wake_lanes(ids[0], 3)
        messages.wake_uploader(spool_id, *ids)

    queues = [f"autos:{name}" for name in (DOWNLOAD_QUEUE, upload_queue(spool_id))]
    assert [client.llen(queue) for queue in queues] == [3, 1]
    messages.download_lanes(ids[0], 5)
    messages.upload(spool_id, *ids)
    assert [client.llen(queue) for queue in queues] == [3 + 5, 1 + 1]


def test_a_silent_redis_keeps_who_sends_waiting_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        messages = Messages(make_broker(url, timeout_s=0.3))

        begun = time.monotonic()
        for _ in range(50):
            messages.wake_lanes(uuid4())
            messages.send_webhooks(uuid4(), [0, 1])

    assert time.monotonic() - begun < QUIET_S


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
