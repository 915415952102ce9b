"""Places of running jobs in Valkey: the leading scheduler publishes them, servers read them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import redis

# A place that is not published anew is gone after this.
LIFETIME_S = 10
# Keys of one command at most, so that Valkey serves others in between.
BATCH = 500
# After a failure Valkey is not asked for this long.
QUIET_S = 2.0


class PublishedPlace(NamedTuple):
    """What lies ahead of a running job.

    `queue_position`: 1 is served next; None while it is served or requests nothing of the portal.
    `end_s`: its estimated end in seconds since 1970 by the database's clock; None if unknown.
    """

    queue_position: int | None
    end_s: float | None


def publish(client: redis.Redis, places: Mapping[UUID, PublishedPlace]) -> None:
    """Publish places for LIFETIME_S seconds. Raises redis.RedisError."""
    items = list(places.items())
    for start in range(0, len(items), BATCH):
        with client.pipeline(transaction=False) as pipeline:
            for job_id, place in items[start : start + BATCH]:
                pipeline.set(_key(job_id), _encode(place), ex=LIFETIME_S)
            pipeline.execute()


class PlaceReader:
    """Reads published places. Thread-safe; never raises; open its client after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._quiet_until = -math.inf

    @property
    def is_quiet(self) -> bool:
        """Whether Valkey failed a moment ago, so that every place is unknown."""
        return time.monotonic() < self._quiet_until

    def read(self, job_ids: Iterable[UUID]) -> dict[UUID, PublishedPlace]:
        """Return the places that are published; none without Valkey."""
        if self.is_quiet:
            return {}
        wanted = list(job_ids)
        try:
            texts = [
                text
                for start in range(0, len(wanted), BATCH)
                for text in self._read(wanted[start : start + BATCH])
            ]
        except redis.RedisError:
            self._quiet_until = time.monotonic() + QUIET_S
            return {}
        found = zip(wanted, map(_decode, texts), strict=True)
        return {job_id: place for job_id, place in found if place is not None}

    def _read(self, job_ids: Sequence[UUID]) -> list[bytes | str | None]:
        return self._client.mget([_key(job_id) for job_id in job_ids])


def _key(job_id: UUID) -> str:
    return f"autos:place:{job_id.hex}"


def _encode(place: PublishedPlace) -> str:
    return json.dumps(place, separators=(",", ":"))


def _decode(text: bytes | str | None) -> PublishedPlace | None:
    """Return the place of a text; None if there is none, or none of this release."""
    try:
        queue_position, end_s = json.loads(text or "")
        return PublishedPlace(
            None if queue_position is None else int(queue_position),
            None if end_s is None else float(end_s),
        )
    except (ValueError, TypeError):
        return None
