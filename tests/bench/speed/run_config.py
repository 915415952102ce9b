"""Configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunConfig:
    """The number of rounds, the size, and the folder for the results."""

    rounds: int
    is_quick: bool
    is_profiled: bool
    folder: Path
