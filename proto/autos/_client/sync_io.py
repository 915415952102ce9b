"""The I/O of Client. async_io.py has the same names for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from autos._client.call_errors import refusal
from autos._client.calls import Call
from autos._client.connection import Connection
from autos._client.pulling import Pull
from autos.downloads.v1 import downloads_pb2 as pb
from autos.pulled import Pulled

T = TypeVar("T")

R = TypeVar("R", bound=Message)

# How often within its timeout the watchdog looks.
LOOKS = 4

sleep = time.sleep


class _Watchdog:
    """Ends a stream that delivers nothing, not even heartbeats."""

    def __init__(self, cancel: Callable[[], object], limit_s: float) -> None:
        self._cancel = cancel
        self._limit_s = limit_s
        # None while the caller processes a message: that time does not count as idle.
        self._waits_since: float | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="autos-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def over(self, messages: Iterable[T]) -> Iterator[T]:
        iterator = iter(messages)
        while True:
            self._waits_since = time.monotonic()
            try:
                message = next(iterator)
            except StopIteration:
                return
            self._waits_since = None
            yield message

    def _look(self) -> None:
        while not self._is_over.wait(self._limit_s / LOOKS):
            since = self._waits_since
            if since is not None and time.monotonic() - since > self._limit_s:
                self._cancel()
                return


@contextmanager
def heard_within(
    messages: Iterable[T], cancel: Callable[[], object], limit_s: float
) -> Iterator[Iterator[T]]:
    """Yield the messages. Call `cancel` if the wait for one exceeds `limit_s` seconds."""
    watchdog = _Watchdog(cancel, limit_s)
    watchdog.start()
    try:
        yield watchdog.over(messages)
    finally:
        watchdog.stop()
        cancel()


class Transport:
    """One channel to the server. Its methods raise AutosError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.channel()

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
