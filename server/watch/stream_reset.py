"""What grpc.aio has no way to do: ending streams whose readers do not read.

A status waits behind the message that cannot be sent, for as long as the connection lives, and
with it the call, its tasks and its memory. Core resets a call that nobody refers to any more; the
last to do so is a task of grpc.aio that waits for the caller to hang up. That one is ended here.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection
from typing import Any

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# What grpc.aio calls the task that starts the one of a call, and waits for the caller's end.
KEEPER = "rpc_task"


def reset_streams(calls: Collection[asyncio.Task[Any]]) -> None:
    """Ends calls at once, given the tasks that their methods run in. The callers see CANCELLED.

    The connections and their other streams go on. grpc.aio itself refers to the call that came
    last, so that one is reset when the next has come.
    """
    keepers = _keepers_of(calls)
    if len(keepers) < len(calls):
        log.error("streams not reset: grpc.aio has changed")
    for task in (*keepers, *calls):
        task.cancel()


def _keepers_of(calls: Collection[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """The tasks that have one of `calls` among the local variables of their coroutine.

    One look for all: with thousands of streams it takes tens of milliseconds.
    """
    wanted = {id(call) for call in calls}
    return [
        task
        for task in asyncio.all_tasks()
        if task.get_name() == KEEPER and not wanted.isdisjoint(map(id, _locals_of(task)))
    ]


def _locals_of(task: asyncio.Task[Any]) -> list[Any]:
    return gc.get_referents(*gc.get_referents(task.get_coro()))
