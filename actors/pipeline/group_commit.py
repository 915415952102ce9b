"""Group commit: items that threads submit during a round are committed together in the next one.

Leader-follower, without timers: the first thread that submits runs the round for all waiting
threads. One round trip and one commit then serve many records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS = 32


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    """The item of one thread. Its event is set when it has a result or must lead."""

    item: Item
    event: threading.Event = field(default_factory=threading.Event)
    result: Result | None = None
    error: BaseException | None = None
    is_done: bool = False


class GroupCommit(Generic[Item, Result]):
    """Run `commit` for many items at once. Thread-safe.

    `commit` returns one result for each item, in their order. If it raises an error, every `submit`
    of that round raises it.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Item, Result]] = []
        self._is_led = False

    def submit(self, item: Item) -> Result:
        """Return the result of `item`, once a round with it is committed."""
        entry: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            leads, self._is_led = not self._is_led, True
        if not leads:
            entry.event.wait()
        if not entry.is_done:
            self._run_round()
        if entry.error is not None:
            raise entry.error
        return entry.result  # type: ignore[return-value]

    def _run_round(self) -> None:
        """Run one round that begins with the caller's entry; then hand over to the next entry."""
        with self._lock:
            round_, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
        try:
            results = self._commit([entry.item for entry in round_])
            for entry, result in zip(round_, results, strict=True):
                entry.result = result
        except BaseException as error:  # noqa: BLE001 - every thread of the round raises it
            for entry in round_:
                entry.error = error
        for entry in round_:
            entry.is_done = True
        with self._lock:
            successor = self._waiting[0] if self._waiting else None
            self._is_led = successor is not None
        for entry in round_:
            entry.event.set()
        if successor is not None:
            successor.event.set()
