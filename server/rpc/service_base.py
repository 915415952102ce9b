"""The base of DownloadService's methods: their dependencies, and threads for blocking calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.dependencies import ServerDependencies
from server.messages.job_messages import message_of
from server.queue.queue_position_cache import QueuePositionCache
from server.queue.queue_view import QueueStatus
from server.rpc.call_threads import CallThreads
from storage.portal.slots import court_of
from storage.records import JobView

P = ParamSpec("P")
T = TypeVar("T")


class ServiceBase(pb_grpc.DownloadServiceServicer):
    """The base of each group of methods."""

    _parts: ServerDependencies
    _threads: CallThreads
    _places: QueuePositionCache

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
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
