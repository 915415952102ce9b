"""Reset of calls if their callers do not read. grpc.aio has no function for that.

A status waits behind a message that cannot be sent as long as the connection lives; so the call
keeps its tasks and its memory. gRPC's core resets a call once no object refers to it. The last
reference belongs to a task of grpc.aio that waits for the end of the call. This module cancels it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection
from typing import Any

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# grpc.aio gives this name to the task that starts the task of a call and waits for the call's end.
KEEPER = "rpc_task"


def reset_streams(calls: Collection[asyncio.Task[Any]]) -> None:
    """Reset calls, given the tasks of their methods. The callers get CANCELLED.

    The connections and their other streams continue. grpc.aio itself refers to the newest call, so
    that call is reset only when the next one arrives.
    """
    keepers = _keepers_of(calls)
    if len(keepers) < len(calls):
        log.error("streams not reset: grpc.aio has changed")
    for task in (*keepers, *calls):
        task.cancel()


def _keepers_of(calls: Collection[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the tasks that have one of `calls` among the local variables of their coroutine.

    One search serves all calls: with thousands of streams it takes tens of milliseconds.
    """
    wanted = {id(call) for call in calls}
    return [
        task
        for task in asyncio.all_tasks()
        if task.get_name() == KEEPER and not wanted.isdisjoint(map(id, _locals_of(task)))
    ]


def _locals_of(task: asyncio.Task[Any]) -> list[Any]:
    return gc.get_referents(*gc.get_referents(task.get_coro()))
