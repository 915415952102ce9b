"""What was asked of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunConfig:
    """How often, how large, and where what is found goes."""

    rounds: int
    is_quick: bool
    is_profiled: bool
    folder: Path
