"""The base of DownloadService's methods: their dependencies, and threads for blocking calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.access.authentication import current_client, has_client
from server.dependencies import ServerDependencies
from server.messages import message_of
from server.queue.queue_position_cache import QueuePositionCache
from server.queue.queue_view import QueueStatus
from server.runtime.fair_executor import FairExecutor
from storage.portal.slots import court_of
from storage.records import JobView

# A page of more items is long: it takes the interpreter, which all threads share, for tens of
# milliseconds.
SHORT_PAGE = 100

P = ParamSpec("P")
T = TypeVar("T")
Context = grpc.aio.ServicerContext[object, object]


class CallThreads:
    """Runs the blocking work of calls on `pool`. For the event loop's thread only.

    `threads`: those of the pool. `share`: the most of them that work for one client.
    `page_threads`: those of them that read long pages, each for another client.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, *, threads: int, share: int, page_threads: int
    ) -> None:
        self._short = FairExecutor(pool, threads=threads - page_threads, share=share)
        self._long = FairExecutor(pool, threads=page_threads, share=1)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` on a thread when it is the turn of the present call's client."""
        return await _run_on(self._short, partial(call, *args, **kwargs))

    async def read_page(
        self, size: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same for `size` items. A client's long pages are read one after the other."""
        threads = self._long if size > SHORT_PAGE else self._short
        return await _run_on(threads, partial(read, *args, **kwargs))


async def _run_on(threads: FairExecutor, call: Callable[[], T]) -> T:
    client = current_client().name if has_client() else None
    # The copied context gives the log lines of the thread the bindings of the call.
    return await threads.run(client, partial(copy_context().run, call))


class ServiceBase(pb_grpc.DownloadServiceServicer):
    """The base of each group of methods."""

    _parts: ServerDependencies
    _threads: CallThreads
    _places: QueuePositionCache

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on a thread when it is the turn of the call's client."""
        return await self._threads.run(call, *args, **kwargs)

    async def _jobs(self, views: Sequence[JobView]) -> list[pb.Job]:
        """Return the messages of jobs, with the queue status of those that run."""
        running = [view.job for view in views if not view.job.is_ended]
        places = await self._places.now(
            {job.job_id: court_of(job.process_number) for job in running}
        )
        # One job needs no thread.
        if len(views) == 1:
            return _messages(views, places)
        return await self._threads.read_page(len(views), _messages, views, places)


def _messages(views: Sequence[JobView], places: Mapping[UUID, QueueStatus]) -> list[pb.Job]:
    return [message_of(view, places.get(view.job.job_id)) for view in views]
