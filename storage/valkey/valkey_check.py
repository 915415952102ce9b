"""Whether Valkey answers, and permits every command that Autos and Dramatiq send."""

from __future__ import annotations

from contextlib import closing

import redis

from storage.errors import ServiceRefused
from storage.valkey.valkey_connections import connect
from storage.valkey.valkey_errors import PART, answered, meaning

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
PASSING = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")


def ask(url: str, *, limit_s: float) -> None:
    """Send every command once. Raises ServiceRefused with Valkey's own code, ServiceUnavailable."""
    try:
        with closing(connect(url, timeout_s=limit_s)) as client:
            # Not EVAL: Dramatiq uses EVALSHA and SCRIPT LOAD.
            answers = client.register_script(_COMMANDS)(keys=[KEY, NAMESPACE], args=[CHANNEL])
            waits = dict(filter(None, (_refused(client, *wait) for wait in _WAITS)))
            with client.pubsub() as subscription:
                subscription.subscribe(CHANNEL)
                subscription.get_message(timeout=limit_s)
    except redis.RedisError as error:
        raise meaning(error) from error
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in answers]
    refused = dict(zip(texts[::2], texts[1::2], strict=True)) | waits
    final = {name: text for name, text in refused.items() if not text.startswith(PASSING)}
    if final:
        code, text = answered(next(iter(final.values())))
        code = "NOPERM" if ACL_FAILURE in text else code
        raise ServiceRefused(PART, " ".join(f"+{name}" for name in final), code, text)


def _refused(client: redis.Redis, name: str, *values: str | float) -> tuple[str, str] | None:
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
