"""Call from several threads, at full speed or at given times; print latencies to stdout.

`python -m tests.bench.speed.load_generator` reads its parameters as a line of JSON from stdin. It
prints that it is ready and reads its starting time, in seconds since 1970, from a second line. It
calls StartDownload, or does the same without a server: an INSERT, a COMMIT and a message.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import grpc
import psycopg2
import redis

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from tests.bench.speed.load_spec import LoadSpec
from tests.sandbox.court_cases.cnj import process_number

CALL_S = 30.0
# A range of numbers for each thread; the sequence has seven digits.
SPAN = 20_000
QUEUE = "bench.bare"
_INSERT = """
INSERT INTO bare_jobs (job_id, client, process_number, state, deadline_time, max_age_s)
VALUES (%s, 'default', %s, 'PENDING', clock_timestamp() + interval '1 day', 3600)
"""

Call = Callable[[str], object]


class Gate:
    """Starts all threads at once, at the time that this process receives."""

    def __init__(self, threads: int) -> None:
        self._opening = 0.0
        self._barrier = threading.Barrier(threads, action=self._ask)

    def _ask(self) -> None:
        print("ready", flush=True)
        self._opening = float(sys.stdin.readline())

    def wait(self) -> float:
        """Return the starting time, once every thread has arrived."""
        self._barrier.wait()
        return self._opening


@contextmanager
def start_download(orders: LoadSpec) -> Iterator[Call]:
    """Return a caller of StartDownload."""
    with grpc.insecure_channel(orders.address) as channel:
        stub: Any = pb_grpc.DownloadServiceStub(channel)

        def call(number: str) -> None:
            stub.StartDownload(pb.StartDownloadRequest(process_number=number), timeout=CALL_S)

        yield call


@contextmanager
def bare(orders: LoadSpec) -> Iterator[Call]:
    """Return a caller that does the minimum: a durable row and a message."""
    connection = psycopg2.connect(orders.database_url)
    client = redis.Redis.from_url(orders.redis_url)

    def call(number: str) -> None:
        job_id = str(uuid4())
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, (job_id, number))
        connection.commit()
        client.lpush(QUEUE, json.dumps({"actor": "list_documents", "args": [job_id]}))

    try:
        yield call
    finally:
        connection.close()
        client.close()


def calls(orders: LoadSpec, gate: Gate, thread: int) -> list[tuple[float, float]]:
    """Return begin (as planned) and end of each call of a thread, in seconds since 1970."""
    done = []
    opened = start_download if orders.address else bare
    with opened(orders) as call:
        # The connection is made before the measurement.
        first = orders.first + thread * SPAN
        call(process_number(first, orders.year))
        opening = gate.wait()
        time.sleep(max(0.0, opening - time.time()))
        for place in range(1, SPAN):
            begin = time.time()
            if orders.interval_s:
                # Late calls count from their planned time, so that a slow server cannot hide its
                # delays.
                planned = opening + (place - 1 + thread / orders.threads) * orders.interval_s
                time.sleep(max(0.0, planned - begin))
                begin = planned
            if begin >= opening + orders.seconds:
                break
            call(process_number(first + place, orders.year))
            done.append((begin, time.time()))
    return done


def main() -> None:
    """Make the calls and print the latencies."""
    orders = LoadSpec(**json.loads(sys.stdin.readline()))
    gate = Gate(orders.threads)
    with ThreadPoolExecutor(orders.threads) as pool:
        lists = list(pool.map(partial(calls, orders, gate), range(orders.threads)))
    print(json.dumps([pair for pairs in lists for pair in pairs]))


if __name__ == "__main__":
    main()
