"""What the methods of DownloadService share: dependencies, and the pool for blocking calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.dependencies import ServerDependencies

P = ParamSpec("P")
T = TypeVar("T")


class ServiceBase(pb_grpc.DownloadServiceServicer):
    """The base of each group of methods."""

    _parts: ServerDependencies

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on the pool."""
        loop = asyncio.get_running_loop()
        # The copied context gives the log lines of the thread the bindings of the call. If the call
        # is cancelled, work that waits for a thread is dropped; work that a thread runs completes.
        work = partial(copy_context().run, call, *args, **kwargs)
        return await loop.run_in_executor(self._parts.pool, work)
