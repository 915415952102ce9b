"""Connections to Valkey: TCP, TLS, a Unix socket, or the master that Sentinels name.

Every connection of Autos begins here, so each form of `REDIS_URL` works in every process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.environment.sentinel_url import is_sentinel_url, parse_sentinel_url


def connect(url: str, *, timeout_s: float) -> redis.Redis:
    """Return a client. A call fails within about `timeout_s` seconds and is never retried."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # With retries, a call would wait for Valkey several times.
        "retry": Retry(NoBackoff(), 0),
    }
    if not is_sentinel_url(url):
        return redis.Redis.from_url(url, **options)
    address = parse_sentinel_url(url)
    watchers = redis.sentinel.Sentinel(
        address.sentinels, sentinel_kwargs={**options, **address.sentinel_options}
    )
    client: redis.Redis = watchers.master_for(address.master, **options, **address.options)
    return client


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Yield a client for asyncio that returns text. Its connections are closed at the end."""
    if not is_sentinel_url(url):
        async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
            yield client
        return
    address = parse_sentinel_url(url)
    watchers = redis.asyncio.sentinel.Sentinel(
        address.sentinels, sentinel_kwargs=address.sentinel_options
    )
    try:
        master: redis.asyncio.Redis = watchers.master_for(
            address.master, decode_responses=True, **address.options
        )
        async with master:
            yield master
    finally:
        # Closing the client does not close the connections to the Sentinels.
        for watcher in watchers.sentinels:
            await watcher.aclose()
