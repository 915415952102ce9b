"""The base of DownloadService's methods: their dependencies, and threads for blocking calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.dependencies import ServerDependencies
from server.rpc.call_threads import CallThreads

P = ParamSpec("P")
T = TypeVar("T")


class ServiceBase(pb_grpc.DownloadServiceServicer):
    """The base of each group of methods."""

    _parts: ServerDependencies
    _threads: CallThreads

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on a thread when it is the turn of the call's client."""
        return await self._threads.run(call, *args, **kwargs)
