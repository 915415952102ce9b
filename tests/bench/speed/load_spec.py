"""Parameters of a process of callers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadSpec:
    """The parameters. `address` is the server's; empty: without a server.

    Each thread calls every `interval_s` or, if that is 0, as soon as it has its answer.
    """

    address: str
    database_url: str
    redis_url: str
    threads: int
    seconds: float
    interval_s: float
    year: int
    first: int
