"""How a job stands among the others: what each priority means for its turns."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Priority of a job, the highest first. The names are the contract's without their prefix."""

    HIGH = "HIGH"
    NORMAL = "NORMAL"
    BULK = "BULK"

    @property
    def is_bulk(self) -> bool:
        """Whether it only takes what all others leave."""
        return self is Priority.BULK

    @property
    def weight(self) -> float:
        """How many turns it takes where a NORMAL job of the same client takes one."""
        return 4.0 if self is Priority.HIGH else 1.0

    def is_above(self, other: Priority) -> bool:
        """Whether it comes before `other`."""
        order = list(Priority)
        return order.index(self) < order.index(other)
