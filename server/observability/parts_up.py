"""Whether Valkey and S3 answer this server: one cheap request to each when Prometheus scrapes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from storage import valkey
from storage.errors import ServiceUnavailable
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import StoreCheck
from storage.settings import Settings
from storage.valkey import connect

T = TypeVar("T")

# One reading serves every scrape within this time.
LOOK_S = 2.0
# A scrape does not wait longer for another server.
PATIENCE_S = 1.5
# Less than a scrape waits, so that a silent server is reported and not only missing.
LIMIT_S = 1.0
# A check that sends one request. Raises ServiceUnavailable, also for a refusal.
Ask = Callable[[], None]
TEXTS = {
    "autos_redis_up": "1 while Valkey answers in time and accepts the login",
    "autos_s3_up": "1 while S3 answers in time and accepts the key",
}


class SharedReading(Generic[T]):
    """The newest result of `read`, which may raise ServiceUnavailable. Thread-safe.

    `clock`: monotonic seconds.
    """

    def __init__(self, read: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._lock = threading.Lock()
        self._look: Future[T] | None = None
        self._began = float("-inf")

    def newest(self) -> T | None:
        """Return a result that is at most LOOK_S old; None if the server did not answer in time."""
        try:
            return self._newest().result(PATIENCE_S)
        except (ServiceUnavailable, TimeoutError):
            return None

    def begin(self) -> None:
        """Begin a reading if one is due, without waiting for it."""
        self._newest()

    def close(self) -> None:
        """Wait for the reading that is under way."""
        self._pool.shutdown()

    def _newest(self) -> Future[T]:
        with self._lock:
            is_old = self._clock() - self._began >= LOOK_S
            # While the server does not answer, readings must not accumulate.
            if self._look is None or (is_old and self._look.done()):
                self._look = self._pool.submit(self._read)
                self._began = self._clock()
            return self._look


class PartsUp(Collector):
    """The gauge of each of TEXTS. `checks`: by name of the gauge."""

    def __init__(self, checks: Mapping[str, Ask]) -> None:
        self._readings = {name: SharedReading(_answers(ask)) for name, ask in checks.items()}

    def begin(self) -> None:
        """Begin the requests that are due, so that they wait for their answers together."""
        for reading in self._readings.values():
            reading.begin()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every family."""
        self.begin()
        for name, reading in self._readings.items():
            yield GaugeMetricFamily(name, TEXTS[name], value=float(reading.newest() or False))

    def close(self) -> None:
        """Wait for the requests that are under way."""
        for reading in self._readings.values():
            reading.close()


def checks_of(settings: Settings) -> dict[str, Ask]:
    """Return the checks of the servers that the settings name."""
    client = connect(settings.redis_url, timeout_s=LIMIT_S)
    bucket = StoreCheck(ObjectStore.of(settings), limit_s=LIMIT_S)
    return {"autos_redis_up": lambda: valkey.ping(client), "autos_s3_up": bucket.ask}


def _answers(ask: Ask) -> Callable[[], bool]:
    def answers() -> bool:
        ask()
        return True

    return answers
