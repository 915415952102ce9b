"""A scheduler that leads, reads and publishes, and proposes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from actors.hints.hint_channel import HintReceiver, make_client
from actors.scheduler.leadership import Leadership
from actors.scheduler.loop import SchedulerLoop
from actors.scheduler.position_publisher import PlacePublisher
from actors.scheduler.reader import Reader
from storage.portal.slots import Limits
from storage.postgres.database import Database
from tests.integration.harness.factories import LOGIN

LIMITS = Limits(at_once=10, per_court=6, lanes=5)
STOP_S = 60.0


@contextmanager
def leading_scheduler(database: Database, redis_url: str) -> Iterator[Leadership]:
    """Run a scheduler until the block ends; it may have to wait for its turn to lead."""
    stop = threading.Event()
    with make_client(redis_url, timeout_s=5) as client:
        leadership = Leadership(database, lambda: True)
        loop = SchedulerLoop(
            leadership=leadership,
            hints=HintReceiver(client),
            make_reader=lambda: Reader(database, LIMITS, LOGIN),
            propose=lambda _groups: None,
            limits=LIMITS,
            places=PlacePublisher(client),
        )
        thread = threading.Thread(target=loop.run, args=(stop,))
        thread.start()
        try:
            yield leadership
        finally:
            stop.set()
            thread.join(STOP_S)
            assert not thread.is_alive()
