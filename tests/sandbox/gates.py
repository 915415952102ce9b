"""Gates that hold the files of a case in transfer until a test opens them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.sandbox.court_cases.cnj import digits


@dataclass(eq=False)
class FileGate:
    """`after_bytes` None: nothing is sent before the gate opens, not even the status."""

    after_bytes: int | None
    is_open: bool = False
    waiting: int = 0


class Gates:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._gates: dict[str, FileGate] = {}

    def hold(self, number: str, after_bytes: int | None) -> None:
        """Close a gate. Requests that wait at an earlier gate of the case stay there too."""
        with self._changed:
            gate = self._gates.setdefault(digits(number), FileGate(after_bytes))
            gate.after_bytes = after_bytes

    def release(self, number: str) -> None:
        with self._changed:
            gate = self._gates.pop(digits(number), None)
            if gate:
                gate.is_open = True
                self._changed.notify_all()

    def release_all(self) -> None:
        for number in list(self._gates):
            self.release(number)

    def at(self, number: str) -> FileGate | None:
        with self._changed:
            return self._gates.get(digits(number))

    def wait(self, gate: FileGate) -> None:
        """Wait at the gate until it opens."""
        with self._changed:
            gate.waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: gate.is_open)
            gate.waiting -= 1

    def wait_held(self, number: str, count: int, timeout_s: float) -> None:
        """Return once `count` requests wait at the gate; TimeoutError otherwise."""

        def held() -> int:
            gate = self._gates.get(digits(number))
            return gate.waiting if gate else 0

        with self._changed:
            if not self._changed.wait_for(lambda: held() >= count, timeout_s):
                raise TimeoutError(f"{held()} of {count} requests held after {timeout_s} s")


def stopping(body: Iterable[bytes], after_bytes: int, stop: Callable[[], None]) -> Iterator[bytes]:
    """Yield the body; call `stop` after `after_bytes` of it."""
    left = after_bytes
    for piece in body:
        if 0 <= left <= len(piece):
            yield piece[:left]
            stop()
            yield piece[left:]
            left = -1
        else:
            yield piece
            left = left - len(piece) if left >= 0 else left
