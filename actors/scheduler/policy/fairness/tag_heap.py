"""A heap of items with changing tags: outdated entries stay until they reach the top."""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Item = TypeVar("Item")

_numbers = itertools.count()

# Outdated entries that are kept besides one for each item in the heap.
SPARE_ENTRIES = 16


class TagHeap(Generic[Item]):
    """Items with tags. The first is the one with the least tag; of equals, the oldest tag."""

    __slots__ = ("_entries", "_valid")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Item]] = []
        # The number of the one valid entry of each item.
        self._valid: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._valid)

    def __contains__(self, item: Item) -> bool:
        return item in self._valid

    def put(self, item: Item, tag: float) -> None:
        """Add the item, or change its tag."""
        number = next(_numbers)
        self._valid[item] = number
        heapq.heappush(self._entries, (tag, number, item))
        if len(self._entries) > 2 * len(self._valid) + SPARE_ENTRIES:
            self._compact()

    def remove(self, item: Item) -> None:
        """Remove the item, if it is there."""
        self._valid.pop(item, None)

    def first(self) -> tuple[float, Item] | None:
        """Return the least tag and its item; None if the heap is empty."""
        while self._entries:
            tag, number, item = self._entries[0]
            if self._valid.get(item) == number:
                return tag, item
            heapq.heappop(self._entries)
        return None

    def _compact(self) -> None:
        self._entries = [e for e in self._entries if self._valid.get(e[2]) == e[1]]
        heapq.heapify(self._entries)
