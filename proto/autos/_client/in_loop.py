"""The client for asyncio. Its methods are those of Client in blocking.py, which describes them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from autos._client import calls
from autos._client.blocking import ATTEMPT_S, HEARTBEAT_S, PATIENCE_S, TIMEOUT_S, OnPause
from autos._client.calls import Call
from autos._client.connection import ADDRESS, Connection
from autos._client.patience import Patience
from autos._client.pulling import PARALLEL, Pull, Pulled, PulledFile
from autos._client.refusals import refusal
from autos._client.resume import JOB_ENDS
from autos._client.watching import CUT_SHORT, Watching
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from autos.errors import AutosError, Unavailable

R = TypeVar("R", bound=Message)


class AsyncClient:
    """Autos for asyncio, like Client. Make it inside the loop that uses it, with `async with`."""

    def __init__(
        self,
        connection: Connection | str = ADDRESS,
        *,
        timeout_s: float = TIMEOUT_S,
        on_pause: OnPause = lambda _error, _pause_s: None,
    ) -> None:
        if isinstance(connection, str):
            connection = Connection(connection)
        self._connection = connection
        self._timeout_s = timeout_s
        self._on_pause = on_pause
        self._channel = _channel(connection)
        self._stub: Any = pb_grpc.DownloadServiceStub(self._channel)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **options: Any) -> Self:
        """By the AUTOS_... variables, see Connection.from_env; `options` as above."""
        return cls(Connection.from_env(os.environ if env is None else env), **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way and hang up."""
        await self._channel.close()

    async def start(
        self,
        process_number: str,
        *,
        webhook_url: str = "",
        request_id: str | None = None,
        max_age: timedelta | None = None,
        priority: pb.Priority = pb.PRIORITY_UNSPECIFIED,
    ) -> pb.StartDownloadResponse:
        """The job that serves the case; `created` says whether this call made it."""
        return await self._call(
            calls.start(
                process_number,
                webhook_url=webhook_url,
                request_id=request_id,
                max_age=max_age,
                priority=priority,
            )
        )

    async def status(self, target: str) -> pb.Job:
        """A job by its job_id, or the newest of a process number."""
        return (await self._call(calls.status(target))).job

    async def watch(
        self,
        target: str,
        *,
        after_revision: int = 0,
        timeout_s: float | None = None,
        patience_s: float | None = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> AsyncIterator[pb.WatchProgressResponse]:
        """The job and its documents as they change, see Client.watch."""
        watching = Watching(
            target,
            after_revision=after_revision,
            timeout_s=timeout_s,
            patience_s=patience_s,
            heartbeat_s=heartbeat_s,
        )
        while True:
            broken: AutosError = Unavailable(CUT_SHORT)
            call, limit_s = watching.stream()
            stream = self._stub.WatchProgress(
                call.request, timeout=limit_s, metadata=self._connection.metadata
            )
            try:
                while (message := await _read(stream, watching.silence_s)) is not None:
                    if watching.take(message):
                        yield message
                    if watching.is_over:
                        return
            except grpc.RpcError as error:
                broken = refusal(error, self._connection.address)
            except TimeoutError:
                broken = Unavailable("The stream fell silent.")
            finally:
                stream.cancel()
            await self._wait(watching, broken)

    async def wait(
        self,
        target: str,
        *,
        timeout_s: float | None = None,
        patience_s: float | None = PATIENCE_S,
    ) -> pb.Job:
        """The job at its end. Raises TookTooLong after `timeout_s`; the job goes on."""
        job = await self.status(target)
        if job.state not in JOB_ENDS:
            # What has changed already is of no interest here.
            async for message in self.watch(
                job.job_id,
                after_revision=job.revision,
                timeout_s=timeout_s,
                patience_s=patience_s,
            ):
                job = message.job if message.HasField("job") else job
        return job

    async def jobs(
        self,
        *,
        process_number: str = "",
        states: Iterable[pb.JobState] = (),
        page_size: int = calls.JOBS_PAGE,
    ) -> AsyncIterator[pb.Job]:
        """All jobs, newest first; pages are fetched as they are needed."""
        async for page in self._pages(calls.jobs(process_number, states, page_size)):
            for job in page.jobs:
                yield job

    async def documents(
        self,
        job_id: str,
        *,
        states: Iterable[pb.DocumentState] = (),
        page_size: int = calls.DOCUMENTS_PAGE,
    ) -> AsyncIterator[pb.Document]:
        """All documents of a job in the order of the case file; pages as they are needed."""
        async for page in self._pages(calls.documents(job_id, states, page_size)):
            for document in page.documents:
                yield document

    async def cancel(self, job_id: str) -> pb.Job:
        """Stop a job. One that has ended is given unchanged."""
        return (await self._call(calls.cancel(job_id))).job

    async def retry(self, job_id: str, *, request_id: str | None = None) -> pb.Job:
        """Run the failed documents of an ended job again."""
        return (await self._call(calls.retry(job_id, request_id))).job

    async def url(
        self, job_id: str, document_id: str, *, lifetime: timedelta | None = None
    ) -> pb.GetDocumentUrlResponse:
        """A presigned URL of a stored document. It is a secret: whoever has it can read."""
        return await self._call(calls.url(job_id, document_id, lifetime))

    async def redeliver(self, job_id: str) -> pb.Job:
        """Send the webhook of an ended job again."""
        return (await self._call(calls.redeliver(job_id))).job

    async def download_to(
        self,
        folder: str | Path,
        job_id: str,
        *,
        parallel: int = PARALLEL,
        on_file: Callable[[PulledFile], object] = lambda _: None,
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> Pulled:
        """Fetch every available document of a job into `folder`, see Client.download_to."""
        loop = asyncio.get_running_loop()

        async def minted(document: pb.Document) -> str:
            return (await self.url(job_id, document.document_id)).url

        # Files are written and hashed in threads, URLs are asked for in the loop.
        pull = Pull(
            documents=[document async for document in self.documents(job_id)],
            folder=Path(folder),
            mint=lambda each: asyncio.run_coroutine_threadsafe(minted(each), loop).result(),
            parallel=parallel,
            on_file=on_file,
            on_bytes=on_bytes,
            stop=threading.Event(),
        )
        running = loop.run_in_executor(None, pull.run)
        try:
            return await asyncio.shield(running)
        finally:
            # Cancelled: no thread goes on writing when this returns.
            pull.stop.set()
            await asyncio.wait([running])

    async def _call(self, call: Call[R]) -> R:
        patience = Patience(self._timeout_s)
        while True:
            try:
                answer: R = await getattr(self._stub, call.method)(
                    call.request,
                    timeout=min(ATTEMPT_S, patience.left_s),
                    metadata=self._connection.metadata,
                )
            except grpc.RpcError as error:
                await self._wait(patience, refusal(error, self._connection.address))
            else:
                return answer

    async def _pages(self, call: Call[R]) -> AsyncIterator[R]:
        following: Call[R] | None = call
        while following is not None:
            answer = await self._call(following)
            yield answer
            following = calls.next_page(following, answer)

    async def _wait(self, patience: Patience | Watching, error: AutosError) -> None:
        pause_s = patience.pause_s(error)
        self._on_pause(error, pause_s)
        await asyncio.sleep(pause_s)


async def _read(stream: Any, limit_s: float) -> pb.WatchProgressResponse | None:
    """The next message, None at the end. Raises TimeoutError when nothing comes for `limit_s`."""
    message = await asyncio.wait_for(stream.read(), limit_s)
    return None if message is grpc.aio.EOF else message


def _channel(connection: Connection) -> grpc.aio.Channel:
    credentials = connection.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(connection.target, connection.options)
    return grpc.aio.secure_channel(connection.target, credentials, connection.options)
