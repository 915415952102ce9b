"""Test consumers: those of a process wait at Redis and survive every fault of Redis."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import dramatiq
import pytest
import redis
from structlog.testing import capture_logs

from actors.hints.hint_channel import QUIET_S as HINT_QUIET_S
from actors.hints.hint_channel import HintSender, make_client
from actors.hints.hints import JobEnded
from actors.messaging.broker import IDLE_S, BoundedPrefetchBroker
from actors.messaging.enqueuer import QUIET_S, Enqueuer, make_broker, upload_queue
from actors.scheduler.policy.dispatcher import Group, ProposalMessage
from actors.scheduler.proposer import Proposer
from actors.tasks import DOWNLOAD_QUEUE, LIST_QUEUE
from dev.embedded.embedded_servers import EMBEDDED, EmbeddedServers, start_all
from dev.folder import DataFolder
from dev.processes.deadline import until
from storage.valkey import ValkeyClock
from tests.timing import quickest

DELAYED = "test.DQ"
# Seconds without an answer from Redis: above the worker's limit.
SILENCE_S = 3 * IDLE_S
# Far below IDLE_S, so a message within this time was not found by polling.
AT_ONCE_S = 0.2
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Yield a Valkey for these tests only."""
    folder = DataFolder(tmp_path_factory.mktemp("broker"))
    running = start_all(folder, {}, kinds={"valkey": EMBEDDED["valkey"]})
    yield running
    running.stop()
    folder.close()


@pytest.fixture
def client(valkey: EmbeddedServers) -> Iterator[redis.Redis]:
    """Yield a client of it."""
    with redis.Redis.from_url(valkey.env["REDIS_URL"]) as client:
        client.flushall()
        yield client


@contextmanager
def _working(
    valkey: EmbeddedServers, *others: str, work: Callable[[str], None] = lambda _word: None
) -> Iterator[list[str]]:
    """Run a worker with one thread; yield the words that its actor received and completed."""
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=2 * IDLE_S)
    received: list[str] = []

    def receive(word: str) -> None:
        work(word)
        received.append(word)

    for queue in ("test", *others):
        dramatiq.actor(broker=broker, queue_name=queue, actor_name=f"tell_{queue}")(receive)
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.queue_prefetch = 1
    worker.start()
    try:
        yield received
    finally:
        worker.stop()
        broker.client.close()


@dataclass(frozen=True)
class _Sender:
    """Sends words to the actors of a worker, over connections that a slow answer does not cut."""

    broker: BoundedPrefetchBroker

    def send(self, queue: str, word: str, *, delay_s: float = 0) -> None:
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=queue, actor_name=f"tell_{queue}", args=(word,), kwargs={}, options={}
        )
        self.broker.enqueue(message, delay=int(delay_s * 1000) or None)


@pytest.fixture
def sender(valkey: EmbeddedServers) -> Iterator[_Sender]:
    """Return a sender to the queues."""
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=PATIENCE_S)
    for queue in ("test", "other"):
        broker.declare_queue(queue)
    yield _Sender(broker)
    broker.client.close()


def _hold_a_delayed_message(client: redis.Redis, sender: _Sender) -> None:
    """Make the delayed messages' consumer hold one, which it returns when it closes."""
    sender.send("test", "late", delay_s=600)
    until(lambda: not client.llen(f"autos:{DELAYED}"), PATIENCE_S, "It was not taken.")


def _waiting(client: redis.Redis) -> int:
    """Return how many consumers wait for a message."""
    return int(client.info("clients")["blocked_clients"])


def _received_after_s(
    sender: _Sender, received: list[str], word: str, *, delay_s: float = 0
) -> float:
    begun = time.monotonic()
    sender.send("test", word, delay_s=delay_s)
    until(lambda: word in received, PATIENCE_S, "The word is not received.")
    return time.monotonic() - begun


def test_a_waiting_consumer_takes_a_message_at_once(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    words = map(str, itertools.count())

    def took_s() -> float:
        until(lambda: _waiting(client) == 2, PATIENCE_S, "No consumer waits.")
        return _received_after_s(sender, received, next(words))

    with _working(valkey) as received:
        assert quickest(took_s, AT_ONCE_S) < AT_ONCE_S


def test_a_delayed_message_is_taken_when_it_is_due(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    words, delay_s = map(str, itertools.count()), IDLE_S / 4

    def took_s() -> float:
        return _received_after_s(sender, received, next(words), delay_s=delay_s)

    with _working(valkey) as received:
        _hold_a_delayed_message(client, sender)
        assert delay_s <= quickest(took_s, delay_s + AT_ONCE_S) < delay_s + AT_ONCE_S


def test_a_waiting_consumer_polls_redis_rarely(
    valkey: EmbeddedServers, client: redis.Redis
) -> None:
    def fetches() -> int:
        return int(client.info("commandstats")["cmdstat_blmove"]["calls"])

    with _working(valkey):
        until(lambda: _waiting(client) == 2, PATIENCE_S, "No consumer waits.")
        before, begun = fetches(), time.monotonic()
        until(lambda: fetches() >= before + 4, PATIENCE_S, "No consumer polls.")

        # Two consumers, each of which may have been at the end of a wait.
        assert time.monotonic() - begun > IDLE_S * 0.9


def test_a_process_takes_no_more_than_it_has_threads_and_more_when_one_is_free(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    go_on = threading.Event()

    def took_s() -> float:
        go_on.clear()
        received.clear()
        for queue in ("test", "other"):
            sender.send(queue, queue)
        until(lambda: _left(client) == 1, PATIENCE_S, "No message is taken.")
        begun = time.monotonic()
        go_on.set()
        until(lambda: len(received) == 2, PATIENCE_S, "The second is not taken.")
        return time.monotonic() - begun

    def work(_word: str) -> None:
        assert go_on.wait(PATIENCE_S)

    with _working(valkey, "other", work=work) as received:
        assert quickest(took_s, AT_ONCE_S) < AT_ONCE_S


def _left(client: redis.Redis) -> int:
    return sum(client.llen(f"autos:{queue}") for queue in ("test", "other"))


def _await_delayed_message(sender: _Sender, received: list[str]) -> None:
    sender.send("test", "later", delay_s=0.1)
    until(lambda: "later" in received, PATIENCE_S, "Delayed messages are not taken any more.")


# Each alone would end a thread: that of the queue, or one that processes its messages.
_ID = {"redis_message_id": "7"}
_GOOD: dict[str, object] = {
    "queue_name": "test",
    "actor_name": "tell_test",
    "args": ["rogue"],
    "kwargs": {},
    "options": _ID,
    "message_id": "7",
    "message_timestamp": 1,
}
_ROGUES: list[object] = [
    None,
    [],
    {"queue_name": "test"},
    _GOOD | {"queue_name": "elsewhere"},
    _GOOD | {"options": {}},
    _GOOD | {"options": []},
    _GOOD | {"options": {"redis_message_id": 7}},
    _GOOD | {"options": _ID | {"eta": "soon"}},
    _GOOD | {"options": _ID | {"eta": True}},
    _GOOD | {"message_id": []},
    _GOOD | {"message_id": 7},
    _GOOD | {"args": None},
    _GOOD | {"kwargs": []},
    _GOOD | {"actor_name": ["tell_test"]},
]


def test_no_message_of_another_program_ends_a_thread(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    for place, rogue in enumerate(["{", "[" * 100_000, *map(json.dumps, _ROGUES)]):
        client.hset("autos:test.msgs", f"rogue-{place}", rogue)
        client.rpush("autos:test", f"rogue-{place}")

    with capture_logs() as lines, _working(valkey) as received:
        sender.send("test", "good")
        until(lambda: bool(received), PATIENCE_S, "The message was not processed.")

    assert received == ["good"]
    dropped = [line for line in lines if line["event"] == "message dropped"]
    assert len(dropped) == len(_ROGUES) + 2
    assert "rogue" not in str(dropped)


def test_delayed_messages_are_taken_after_redis_had_no_memory_left(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    with _working(valkey) as received:
        _hold_a_delayed_message(client, sender)
        client.config_set("maxmemory", 1)
        refused = int(client.info("stats")["total_error_replies"])
        until(
            lambda: int(client.info("stats")["total_error_replies"]) > refused + 5,
            PATIENCE_S,
            "No client was refused.",
        )
        client.config_set("maxmemory", 0)

        _await_delayed_message(sender, received)


def test_delayed_messages_are_taken_after_redis_did_not_answer(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    with _working(valkey) as received:
        _hold_a_delayed_message(client, sender)
        client.client_pause(int(SILENCE_S * 1000))
        client.ping()  # Redis answers when the pause is over.

        _await_delayed_message(sender, received)


def test_a_silent_redis_delays_a_sender_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

        def took_s() -> float:
            messages = Enqueuer(make_broker(url, timeout_s=0.3))
            begun = time.monotonic()
            for _ in range(50):
                messages.upload(uuid4(), uuid4(), uuid4(), uuid4())
                messages.send_webhooks(uuid4(), [0, 1])
            return time.monotonic() - begun

        assert quickest(took_s, QUIET_S) < QUIET_S


def test_a_silent_valkey_keeps_a_hint_waiting_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

        def took_s() -> float:
            hints = HintSender(make_client(url, timeout_s=0.3))
            begun = time.monotonic()
            for _ in range(50):
                hints.send(JobEnded(uuid4()))
            return time.monotonic() - begun

        assert quickest(took_s, HINT_QUIET_S) < HINT_QUIET_S


def test_a_proposal_names_its_job_and_the_time_of_valkey(
    valkey: EmbeddedServers, client: redis.Redis
) -> None:
    broker = make_broker(valkey.env["REDIS_URL"], timeout_s=PATIENCE_S)
    clock = ValkeyClock(client)
    listed, downloaded = uuid4(), uuid4()
    listing, *slices = (ProposalMessage(uuid4(), n == 0, n, n == 0) for n in (0, 3, 1))
    sent_from = clock.now_ms()

    Proposer(broker, clock).send([Group(listed, (listing,)), Group(downloaded, tuple(slices))])

    found = {}
    for queue in (LIST_QUEUE, DOWNLOAD_QUEUE):
        raws = client.hvals(f"autos:{queue}.msgs")
        sent = [dramatiq.Message.decode(raw) for raw in raws]  # type: ignore[arg-type]
        found[queue] = sorted(message.args[:-1] for message in sent)
        assert all(sent_from <= message.args[-1] <= clock.now_ms() for message in sent)
    assert found == {
        LIST_QUEUE: [(str(listed), True, str(listing.proposal_id))],
        DOWNLOAD_QUEUE: sorted(
            (str(downloaded), each.requests, str(each.proposal_id)) for each in slices
        ),
    }
    broker.client.close()


def test_nothing_is_left_of_the_queue_of_a_dead_spool(
    valkey: EmbeddedServers, client: redis.Redis
) -> None:
    spool_id, ids = uuid4(), (uuid4(), uuid4(), uuid4())
    dead, alive = (make_broker(valkey.env["REDIS_URL"], timeout_s=PATIENCE_S) for _ in range(2))
    messages = Enqueuer(alive)
    for delay_s in (0, 0, 60):
        messages.upload(spool_id, *ids, delay_s=delay_s)
    for queue in (upload_queue(spool_id), f"{upload_queue(spool_id)}.DQ"):
        assert dead.do_fetch(queue, 1)  # The message was consumed and never acknowledged.

    assert messages.purge_upload_queue(spool_id)

    assert client.keys(f"*{spool_id}*") == []
    for broker in (dead, alive):
        broker.client.close()


def test_the_proposals_of_a_pass_are_one_round_trip_and_all_arrive(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    with _working(valkey) as received:
        # Valkey forgets the script, as after a restart.
        client.script_flush()
        with sender.broker.pipelined():
            for word in ("a", "b", "c"):
                sender.send("test", word)
            assert not client.llen("autos:test")
        until(lambda: sorted(received) == ["a", "b", "c"], PATIENCE_S, "A message is lost.")


def test_finished_messages_are_removed_from_valkey_and_at_the_end_at_once(
    valkey: EmbeddedServers, client: redis.Redis, sender: _Sender
) -> None:
    with _working(valkey) as received:
        sender.send("test", "first")
        until(lambda: received == ["first"], PATIENCE_S, "It is not received.")
        until(lambda: not client.hlen("autos:test.msgs"), PATIENCE_S, "It is not removed.")
        sender.send("test", "last")
        until(lambda: received == ["first", "last"], PATIENCE_S, "It is not received.")
    assert not client.hlen("autos:test.msgs")
    assert not list(client.scan_iter("autos:__acks__*"))
