"""Options of a chaos run."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.embedded.sandbox import ROOT
from tests.chaos.faults.fault_plan import KINDS, named_kinds


@dataclass(frozen=True)
class ChaosOptions:
    """The options. `jobs` and `minutes` are per seed; `most_faults` 0 means no maximum.

    A freeze is meant to outlast `lease_s`; without freezes it can be longer.
    """

    seed: int
    seeds: int = 1
    jobs: int = 100
    documents: float = 5.0
    minutes: float = 2.0
    most_faults: int = 0
    kinds: tuple[str, ...] = tuple(KINDS)
    folder: Path = ROOT / "var" / "chaos"
    is_kept: bool = False
    lease_s: int = 5


def options_of(arguments: Sequence[str]) -> ChaosOptions:
    """Parse a command line. Exits with a sentence about an invalid option."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Runs jobs while it breaks processes, servers and connections, then checks.",
    )
    parser.add_argument("--seed", type=int, help="the first one; by chance without it")
    parser.add_argument("--seeds", type=int, default=1, help="so many, one after another")
    parser.add_argument("--jobs", type=int, default=100, help="of each seed (%(default)s)")
    parser.add_argument("--documents", type=float, default=5, help="a job's average (%(default)s)")
    parser.add_argument("--minutes", type=float, default=2, help="of each seed (%(default)s)")
    parser.add_argument("--most-faults", type=int, default=0, help="of each seed; 0: what fits")
    parser.add_argument("--faults", default="", help="only those that begin so: postgres,s3-cut")
    parser.add_argument(
        "--folder", type=Path, default=ChaosOptions.folder, help="for logs and data"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and data of what passed too")
    parsed = parser.parse_args(arguments)
    try:
        kinds = named_kinds([name for name in parsed.faults.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    return ChaosOptions(
        seed=random.randrange(1_000_000) if parsed.seed is None else parsed.seed,
        seeds=parsed.seeds,
        jobs=parsed.jobs,
        documents=parsed.documents,
        minutes=parsed.minutes,
        most_faults=parsed.most_faults,
        kinds=tuple(kinds),
        folder=parsed.folder.absolute(),
        is_kept=parsed.keep,
    )
