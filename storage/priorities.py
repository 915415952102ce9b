"""The priority of a job, and its weight in the fair queue."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Priority of a job, the highest first. The names are the contract's without their prefix."""

    HIGH = "HIGH"
    NORMAL = "NORMAL"
    BULK = "BULK"


# Shares of the portal's time within a client. BULK jobs share what the others leave.
WEIGHTS = {Priority.HIGH: 4, Priority.NORMAL: 1, Priority.BULK: 1}
