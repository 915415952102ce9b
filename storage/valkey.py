"""Valkey or Redis: connections, its errors, and whether it permits what Autos and Dramatiq send.

A connection uses TCP, TLS, a Unix socket, or the master that Sentinels name. Every connection of
Autos begins here, so each form of `REDIS_URL` works in every process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, SlaveNotFoundError

from storage.environment.sentinel_url import is_sentinel_url, parse_sentinel_url
from storage.errors import ServiceRefused, ServiceUnavailable
from storage.http.tls import failed_handshake, untrusted_certificate

PART = "Valkey"
NO_ANSWER = "NO_ANSWER"
# The answers that pass by themselves: a start, a failover, a script that runs too long.
PASSING_TEXT = "max number of clients"
PASSING = {"LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "READONLY"}


def meaning(error: BaseException) -> ServiceUnavailable:
    """Return the meaning of an error of redis. Its code is Valkey's own, if Valkey answered."""
    if certificate := untrusted_certificate(error):
        return _refused("CERTIFICATE_NOT_TRUSTED", certificate)
    code, text = failed_handshake(error)
    if code:
        return _refused(code, text)
    if isinstance(error, MasterNotFoundError | SlaveNotFoundError):
        return ServiceUnavailable(PART, code="NO_MASTER", answer=str(error))
    if isinstance(error, redis.AuthenticationError | redis.ResponseError):
        return _meaning_of_answer(error)
    if isinstance(error, redis.ConnectionError) and getattr(error, "status_code", None):
        return _meaning_of_answer(error)
    return ServiceUnavailable(PART, code=NO_ANSWER, answer=type(error).__name__)


def answered(text: str) -> tuple[str, str]:
    """Return code and text of an error of Valkey, ERR without a code."""
    code, _, rest = text.strip().partition(" ")
    is_code = code.isascii() and code.isalpha() and code.isupper()
    return (code, " ".join(rest.split())) if is_code else ("ERR", " ".join(text.split()))


def _meaning_of_answer(error: redis.RedisError) -> ServiceUnavailable:
    code = getattr(error, "status_code", None)
    code, text = (code, str(error)) if code else answered(str(error))
    if code in PASSING or text.startswith(PASSING_TEXT):
        return ServiceUnavailable(PART, code=code, answer=text)
    return _refused(code, text)


def _refused(code: str, answer: str) -> ServiceRefused:
    return ServiceRefused(PART, "commands", code, answer)


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


KEY = "autos:check"
CHANNEL = "autos:check"
# Dramatiq names it as the key of its script.
NAMESPACE = "autos"
# Every command, in a form that leaves nothing behind. Redis before 6.2 does not know some of them.
# A script is refused what its user is refused, and reports all of it in one round trip.
_COMMANDS = """
local calls = {
  {'TIME'}, {'SET', KEYS[1], '1', 'PX', 1000}, {'GET', KEYS[1]}, {'MGET', KEYS[1]},
  {'DEL', KEYS[1]}, {'KEYS', KEYS[1]}, {'SCAN', 0, 'MATCH', KEYS[1], 'COUNT', 1},
  {'RPUSH', KEYS[1], 'a', 'b'}, {'LLEN', KEYS[1]}, {'LTRIM', KEYS[1], 0, -1},
  {'LPOP', KEYS[1]}, {'LPOP', KEYS[1], 1},
  {'DEL', KEYS[1]}, {'HSET', KEYS[1], 'a', '1'}, {'HGET', KEYS[1], 'a'}, {'HMGET', KEYS[1], 'a'},
  {'HEXISTS', KEYS[1], 'a'}, {'HLEN', KEYS[1]}, {'HDEL', KEYS[1], 'a'},
  {'DEL', KEYS[1]}, {'SADD', KEYS[1], 'a'}, {'SMEMBERS', KEYS[1]}, {'SCARD', KEYS[1]},
  {'SREM', KEYS[1], 'a'}, {'DEL', KEYS[1]}, {'ZADD', KEYS[1], 1, 'a'},
  {'ZRANGEBYSCORE', KEYS[1], 0, 1}, {'ZREM', KEYS[1], 'a'}, {'DEL', KEYS[1]},
  {'PUBLISH', ARGV[1], ''},
}
local refused = {}
for _, call in ipairs(calls) do
  local answer = redis.pcall(unpack(call))
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = string.lower(call[1])
    refused[#refused + 1] = answer.err
  end
end
return refused
"""
# Redis permits no command that waits in a script.
_WAITS: tuple[tuple[str, *tuple[str | float, ...]], ...] = (
    ("BLMOVE", KEY, KEY, "LEFT", "LEFT", 0.001),
    ("BLPOP", KEY, 0.001),
)
# In a script, Valkey omits the code of a refused command.
ACL_FAILURE = "no permissions to"
# Codes of an error that concerns all commands now and passes: no memory left, a replica.
PASSING_OF_COMMANDS = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")


def check_commands(url: str, *, limit_s: float) -> None:
    """Send every command once. Raises ServiceRefused with Valkey's own code, ServiceUnavailable."""
    try:
        with closing(connect(url, timeout_s=limit_s)) as client:
            # Not EVAL: Dramatiq uses EVALSHA and SCRIPT LOAD.
            answers = client.register_script(_COMMANDS)(keys=[KEY, NAMESPACE], args=[CHANNEL])
            waits = dict(filter(None, (_refused_command(client, *wait) for wait in _WAITS)))
            with client.pubsub() as subscription:
                subscription.subscribe(CHANNEL)
                subscription.get_message(timeout=limit_s)
    except redis.RedisError as error:
        raise meaning(error) from error
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in answers]
    refused = dict(zip(texts[::2], texts[1::2], strict=True)) | waits
    final = {
        name: text for name, text in refused.items() if not text.startswith(PASSING_OF_COMMANDS)
    }
    if final:
        code, text = answered(next(iter(final.values())))
        code = "NOPERM" if ACL_FAILURE in text else code
        raise ServiceRefused(PART, " ".join(f"+{name}" for name in final), code, text)


def _refused_command(
    client: redis.Redis, name: str, *values: str | float
) -> tuple[str, str] | None:
    """Return the name of a command and its error if Valkey refuses it."""
    try:
        client.execute_command(name, *values)
    except redis.ResponseError as error:
        return name.lower(), f"{getattr(error, 'status_code', None) or ''} {error}".strip()
    return None


def ping(client: redis.Redis) -> None:
    """Send PING. Raises ServiceUnavailable."""
    try:
        client.ping()
    except redis.RedisError as error:
        raise meaning(error) from error


# Seconds after which the offset to the local clock is measured again.
MEASURE_S = 10.0


class ValkeyClock:
    """Milliseconds since 1970 by Valkey's clock. Thread-safe.

    If Valkey is unavailable, the last measured offset is used, or the local clock without one.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._offset_s = time.time() - time.monotonic()
        self._measured_at = -MEASURE_S

    def now_ms(self) -> int:
        """Return the time. Makes a round trip once in MEASURE_S."""
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_S:
            self._measure(now)
        return round((time.monotonic() + self._offset_s) * 1000)

    def _measure(self, now: float) -> None:
        with self._lock:
            if now - self._measured_at < MEASURE_S:
                return
            self._measured_at = now
            try:
                seconds, microseconds = self._client.time()
            except redis.RedisError:
                return
            middle = (now + time.monotonic()) / 2
            self._offset_s = seconds + microseconds / 1e6 - middle
