"""The I/O of AsyncClient. sync_io.py has the same names for the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from autos._client.call_errors import refusal
from autos._client.calls import Call
from autos._client.connection import Connection
from autos._client.pulling import Pull
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import Unavailable
from autos.pulled import Pulled

R = TypeVar("R", bound=Message)

sleep = asyncio.sleep


class Transport:
    """One channel to the server. Its methods raise AutosError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.channel(grpc.aio)

    async def close(self) -> None:
        """End the calls under way and close the channel."""
        await self._channel.close()

    async def answer(self, call: Call[R], limit_s: float) -> R:
        """Make one attempt of a call. `limit_s`: its deadline in seconds."""
        method: Any = self._channel.unary_unary(**call.wire)
        try:
            answer: R = await method(
                call.request, timeout=limit_s, metadata=self._connection.metadata
            )
        except grpc.RpcError as error:
            raise refusal(error, self._connection.address) from error
        return answer

    @asynccontextmanager
    async def stream(
        self, call: Call[R], limit_s: float | None, silence_s: float
    ) -> AsyncIterator[AsyncIterator[R]]:
        """Yield the messages of a stream. If none arrives for `silence_s`, raise Unavailable."""
        method: Any = self._channel.unary_stream(**call.wire)
        stream = method(call.request, timeout=limit_s, metadata=self._connection.metadata)
        try:
            yield _Messages(stream, silence_s, self._connection.address)
        finally:
            stream.cancel()


@dataclass(frozen=True)
class _Messages(AsyncIterator[Any]):
    stream: Any
    silence_s: float
    address: str

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await asyncio.wait_for(self.stream.read(), self.silence_s)
        except TimeoutError:
            raise Unavailable("The stream delivered no heartbeat in time.") from None
        except grpc.RpcError as error:
            raise refusal(error, self.address) from error
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


def from_threads(mint: Callable[[pb.Document], Awaitable[str]]) -> Callable[[pb.Document], str]:
    """Return `mint` for the threads that fetch files; it still runs in this event loop."""
    loop = asyncio.get_running_loop()

    async def minted(document: pb.Document) -> str:
        return await mint(document)

    return lambda document: asyncio.run_coroutine_threadsafe(minted(document), loop).result()


async def run(pull: Pull) -> Pulled:
    """Fetch the files in threads."""
    pulling = asyncio.get_running_loop().run_in_executor(None, pull.run)
    try:
        return await asyncio.shield(pulling)
    finally:
        # After a cancellation, no thread continues to write when this function returns.
        pull.stop.set()
        await asyncio.wait([pulling])
