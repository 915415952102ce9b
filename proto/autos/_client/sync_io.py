"""The I/O of Client. async_io.py has the same names for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from autos._client.call_errors import refusal
from autos._client.calls import Call
from autos._client.connection import Connection
from autos._client.files.pulling import Pull
from autos._client.silence import heard_within
from autos.downloads.v1 import downloads_pb2 as pb
from autos.pulled import Pulled

R = TypeVar("R", bound=Message)

sleep = time.sleep


class Transport:
    """One channel to the server. Its methods raise AutosError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        credentials = connection.credentials()
        target, options = connection.target, connection.options
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)

    def close(self) -> None:
        """End the calls under way and close the channel."""
        self._channel.close()

    def answer(self, call: Call[R], limit_s: float) -> R:
        """Make one attempt of a call. `limit_s`: its deadline in seconds."""
        method = self._channel.unary_unary(**call.wire)
        try:
            answer: R = method(call.request, timeout=limit_s, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise refusal(error, self._connection.address) from error
        return answer

    @contextmanager
    def stream(
        self, call: Call[R], limit_s: float | None, silence_s: float
    ) -> Iterator[Iterator[R]]:
        """Yield the messages of a stream. If none arrives for `silence_s`, raise Unavailable."""
        method = self._channel.unary_stream(**call.wire)
        stream = method(call.request, timeout=limit_s, metadata=self._connection.metadata)
        with heard_within(stream, stream.cancel, silence_s) as messages:
            yield self._translated(messages)

    def _translated(self, messages: Iterator[R]) -> Iterator[R]:
        try:
            yield from messages
        except grpc.RpcError as error:
            raise refusal(error, self._connection.address) from error


def from_threads(mint: Callable[[pb.Document], str]) -> Callable[[pb.Document], str]:
    """Return `mint`, which any thread may call."""
    return mint


def run(pull: Pull) -> Pulled:
    """Fetch the files."""
    return pull.run()
