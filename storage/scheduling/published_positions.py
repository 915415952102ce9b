"""Queue positions of running jobs in Valkey: the leading scheduler publishes, servers read.

It also publishes whether it would serve a new job at once: such a job has no position that a call
could wait for.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

import redis

T = TypeVar("T")

# Seconds after which a position expires if it is not published again.
LIFETIME_S = 10
# The value is 1 while a new job is served at once, otherwise 0. It expires if no scheduler leads.
IDLE_KEY = "autos:idle"
IDLE_LIFETIME_S = 3
# The most keys in one command, so that Valkey serves other clients in between.
BATCH = 500
# Seconds without another Valkey command after a failure.
QUIET_S = 2.0


class PublishedPlace(NamedTuple):
    """The queue position and the estimated end of a running job.

    `queue_position`: 1 is served next; None while the job is served or needs no portal request.
    `end_s`: its estimated end in seconds since 1970 by the database's clock; None if unknown.
    """

    queue_position: int | None
    end_s: float | None


def publish(client: redis.Redis, places: Mapping[UUID, PublishedPlace]) -> None:
    """Publish positions for LIFETIME_S seconds. Raises redis.RedisError."""
    items = list(places.items())
    for start in range(0, len(items), BATCH):
        with client.pipeline(transaction=False) as pipeline:
            for job_id, place in items[start : start + BATCH]:
                pipeline.set(_key(job_id), _encode(place), ex=LIFETIME_S)
            pipeline.execute()


def publish_idle(client: redis.Redis, *, is_idle: bool) -> None:
    """Publish for IDLE_LIFETIME_S seconds whether a new job is served at once.

    Raises redis.RedisError.
    """
    client.set(IDLE_KEY, int(is_idle), ex=IDLE_LIFETIME_S)


class PlaceReader:
    """Read published positions. Thread-safe; never raises. Open its client after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._quiet_until = -math.inf

    @property
    def is_quiet(self) -> bool:
        """Return whether Valkey failed less than QUIET_S ago, so that every position is unknown."""
        return time.monotonic() < self._quiet_until

    def read(self, job_ids: Iterable[UUID]) -> dict[UUID, PublishedPlace]:
        """Return the published positions; none without Valkey."""
        wanted = list(job_ids)
        texts = self._ask(lambda: self._texts(wanted)) or ()
        found = zip(wanted, map(_decode, texts), strict=False)
        return {job_id: place for job_id, place in found if place is not None}

    def is_idle(self) -> bool:
        """Return whether a new job is served at once; False if that is unknown."""
        return self._ask(lambda: self._client.get(IDLE_KEY)) == b"1"

    def _ask(self, read: Callable[[], T]) -> T | None:
        """Return the answer of Valkey, None while it is unavailable."""
        if self.is_quiet:
            return None
        try:
            return read()
        except redis.RedisError:
            self._quiet_until = time.monotonic() + QUIET_S
            return None

    def _texts(self, job_ids: Sequence[UUID]) -> list[bytes | str | None]:
        return [
            text
            for start in range(0, len(job_ids), BATCH)
            for text in self._client.mget(map(_key, job_ids[start : start + BATCH]))
        ]


def _key(job_id: UUID) -> str:
    return f"autos:place:{job_id.hex}"


def _encode(place: PublishedPlace) -> str:
    return json.dumps(place, separators=(",", ":"))


def _decode(text: bytes | str | None) -> PublishedPlace | None:
    """Decode a published position. Return None if there is none, or if its format is unknown."""
    try:
        queue_position, end_s = json.loads(text or "")
        return PublishedPlace(
            None if queue_position is None else int(queue_position),
            None if end_s is None else float(end_s),
        )
    except (ValueError, TypeError):
        return None
