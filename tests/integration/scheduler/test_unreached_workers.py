"""Test that a leader whose proposals reach no worker keeps no worker from claiming by itself."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
import redis

from actors.hints import hint_channel
from actors.hints.hint_channel import HintReceiver, make_client
from actors.messaging.enqueuer import make_broker
from actors.scheduler.leadership import Leadership
from actors.scheduler.loop import SchedulerLoop
from actors.scheduler.position_publisher import PlacePublisher
from actors.scheduler.proposer import Proposer
from actors.scheduler.reader import Reader
from actors.tasks import DOWNLOAD_QUEUE
from dev.processes.deadline import until
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.scheduling import process_rows
from storage.valkey import ValkeyClock
from tests.integration.harness import scheduler_driver
from tests.integration.harness.factories import LOGIN

LIMITS = Limits(at_once=10, per_court=6, lanes=5)
WAIT_S = 60.0


@pytest.mark.parametrize("refused", ["", hint_channel.KEY, f"autos:{DOWNLOAD_QUEUE}"])
def test_work_goes_on_if_no_worker_answers_or_valkey_refuses_one_key(
    database: Database, redis_url: str, refused: str
) -> None:
    # Given a worker that reads no message, or a key of another program under a name of Autos
    process_rows.beat(database, uuid4(), threads=4, takes_files=True)
    scheduler_driver.job(database, documents=3)
    stop = threading.Event()
    broker = make_broker(redis_url, timeout_s=5)
    with redis.Redis.from_url(redis_url) as client, make_client(redis_url, timeout_s=5) as own:
        if refused:
            client.set(refused, "of another program")
        proposer = Proposer(broker, ValkeyClock(own))
        loop = SchedulerLoop(
            leadership=Leadership(database, proposer.can_send),
            hints=HintReceiver(own),
            make_reader=lambda: Reader(database, LIMITS, LOGIN),
            propose=proposer.send,
            limits=LIMITS,
            places=PlacePublisher(own),
        )
        thread = threading.Thread(target=loop.run, args=(stop,))
        thread.start()
        try:
            until(lambda: loop.leadership.term is not None, WAIT_S, "It does not lead.")
            by = scheduler_driver.context()
            # Then the worker claims without a proposal
            until(
                lambda: scheduler_driver.ask(database, by) is not None,
                WAIT_S,
                "The leader keeps all work from beginning.",
            )
        finally:
            stop.set()
            thread.join(WAIT_S)
            broker.client.close()
