"""Run watchers in their own process: they record messages and arrival times at low cost."""

from __future__ import annotations

import gc
import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from tests.network.http2 import Caller

PATH = "/autos.downloads.v1.DownloadService/WatchProgress"
ANSWER_S = 120.0


@dataclass
class ArrivedMessages:
    """The messages that the watchers of a process received since the last request.

    `messages`: job, revision and moment of each; `ends`: stream ends with their trailers; `cpu_s`:
    the CPU seconds of receiving.
    """

    messages: list[tuple[UUID, int, float]] = field(default_factory=list)
    opened: int = 0
    ends: list[tuple[float, bytes]] = field(default_factory=list)
    cpu_s: float = 0.0


class Watchers:
    """The parent's side of a process of watchers."""

    def __init__(self, address: tuple[str, int], channels: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, address, channels))
        self._process.start()
        self._ask("hello")

    def open(self, job_ids: Sequence[UUID], heartbeat_s: int) -> None:
        """Open a stream for each of these, all in one burst; return when the requests are sent."""
        self._ask("open", list(job_ids), heartbeat_s)

    def seen(self) -> ArrivedMessages:
        """Return the messages since the last call."""
        return self._ask("seen")  # type: ignore[no-any-return]

    def opened(self) -> int:
        """Return how many streams have had their first message."""
        return int(self._ask("opened"))

    def close(self) -> None:
        """Close the connections and end the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        if not self._pipe.poll(ANSWER_S):
            raise TimeoutError(f"the watchers do not answer {question[0]}")
        return self._pipe.recv()


@contextmanager
def running_watchers(port: int, processes: int, channels: int) -> Iterator[list[Watchers]]:
    """Run `channels` connections in all, shared by the processes."""
    share, rest = divmod(channels, processes)
    crowd: list[Watchers] = []
    try:
        for i in range(processes):
            watchers = Watchers(("127.0.0.1", port), share + (i < rest))
            crowd.append(watchers)
        yield crowd
    finally:
        for watchers in crowd:
            watchers.close()


class _Crowd:
    """The watchers inside their process."""

    def __init__(self, address: tuple[str, int], channels: int) -> None:
        self.callers = [Caller(*address) for _ in range(channels)]
        self._jobs: list[dict[int, UUID]] = [{} for _ in self.callers]
        self._open: set[tuple[int, int]] = set()
        self._seen = ArrivedMessages()
        self._opened = 0
        self._cpu_s = time.process_time()

    def open(self, job_ids: list[UUID], heartbeat_s: int) -> None:
        channels = len(self.callers)
        for i, caller in enumerate(self.callers):
            mine = job_ids[i::channels]
            requests = [_request(job_id, heartbeat_s) for job_id in mine]
            if requests:
                first = caller.open(PATH, *requests)
                streams = range(first, first + 2 * len(mine), 2)
                self._jobs[i].update(zip(streams, mine, strict=True))

    def read(self, i: int) -> bool:
        """Read the available bytes of a connection; return False when it has ended."""
        jobs, keep = self._jobs[i], self._seen.messages.append
        for stream, message, trailers in self.callers[i].read():
            if message is None:
                if not stream:
                    return False
                if jobs.pop(stream, None):
                    self._seen.ends.append((time.monotonic(), trailers))
                continue
            if (i, stream) not in self._open:
                self._open.add((i, stream))
            keep((jobs[stream], _revision(message), time.monotonic()))
        return True

    def seen(self) -> ArrivedMessages:
        seen, self._seen = self._seen, ArrivedMessages()
        cpu_s = time.process_time()
        seen.cpu_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        seen.opened = len(self._open)
        return seen

    def opened(self) -> int:
        return len(self._open)


def _request(job_id: UUID, heartbeat_s: int) -> bytes:
    request = pb.WatchProgressRequest(job_id=str(job_id))
    request.heartbeat_interval.seconds = heartbeat_s
    return request.SerializeToString()


def _revision(message: bytes) -> int:
    """Return field 1, which comes first; 0 if it is not set."""
    if message[0] != 8:
        return 0
    revision = shift = 0
    for byte in message[1:]:
        revision |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return revision


def _serve(pipe: Connection, address: tuple[str, int], channels: int) -> None:
    # The garbage collector would scan these records again and again, 25 ms each time.
    gc.disable()
    crowd, selector = _Crowd(address, channels), selectors.DefaultSelector()
    selector.register(pipe, selectors.EVENT_READ, None)
    for i, caller in enumerate(crowd.callers):
        selector.register(caller.socket, selectors.EVENT_READ, i)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                try:
                    name, *arguments = pipe.recv()
                except EOFError:
                    return
                pipe.send(None if name == "hello" else getattr(crowd, name)(*arguments))
            elif not crowd.read(key.data):
                selector.unregister(crowd.callers[key.data].socket)
