"""How a job stands among the others; storage/turns.py says what that means for its turns."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Priority of a job, the highest first. The names are the contract's without their prefix."""

    HIGH = "HIGH"
    NORMAL = "NORMAL"
    BULK = "BULK"

    def is_above(self, other: Priority) -> bool:
        """Whether it comes before `other`."""
        order = list(Priority)
        return order.index(self) < order.index(other)
