"""What grpc.aio has no way to do: ending a stream whose reader does not read.

A status waits behind the message that cannot be sent, for as long as the connection lives, and
with it the call, its tasks and its memory. Core resets a call that nobody refers to any more; the
last to do so is a task of grpc.aio that waits for the caller to hang up. That one is ended here.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# What grpc.aio calls the task that starts the one of a call, and waits for the caller's end.
KEEPER = "rpc_task"


def reset(call: asyncio.Task[Any]) -> None:
    """Ends a call at once, given the task that its method runs in. The caller sees CANCELLED.

    The connection and its other streams go on. grpc.aio itself refers to the call that came last,
    so that one is reset when the next has come.
    """
    keeper = _keeper_of(call)
    if keeper is None:
        log.error("stream not reset: grpc.aio has changed")
    else:
        keeper.cancel()
    call.cancel()


def _keeper_of(call: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """The task that has `call` among the local variables of its coroutine."""
    for task in asyncio.all_tasks():
        if task.get_name() == KEEPER:
            scopes = gc.get_referents(task.get_coro())
            if any(call is local for local in gc.get_referents(*scopes)):
                return task
    return None
