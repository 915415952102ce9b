"""Plan the kinds and times of faults: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FaultKind:
    """The target of a fault, and its duration in seconds. A target has one fault at a time."""

    strikes: str
    least_s: float = 0.0
    most_s: float = 0.0


# A worker is frozen for longer than its lease of 5 s. A fault without a duration ends when the
# killed process or server runs again.
KINDS: Mapping[str, FaultKind] = {
    "worker-kill": FaultKind("worker"),
    "worker-term": FaultKind("worker"),
    "worker-freeze": FaultKind("worker", 6, 9),
    "uploader-kill": FaultKind("uploader"),
    "uploader-freeze": FaultKind("uploader", 6, 9),
    "notifier-kill": FaultKind("notifier"),
    "scheduler-kill": FaultKind("scheduler"),
    "scheduler-freeze": FaultKind("scheduler", 2, 6),
    "server-kill": FaultKind("server"),
    "all-kill": FaultKind("worker uploader notifier scheduler server"),
    "host-lost": FaultKind("worker uploader scheduler", 1, 3),
    "postgres-stop": FaultKind("postgres", 1, 8),
    "postgres-kill": FaultKind("postgres"),
    "postgres-cut": FaultKind("postgres"),
    "postgres-stall": FaultKind("postgres", 1, 8),
    "postgres-refuse": FaultKind("postgres", 1, 6),
    "postgres-before-commit": FaultKind("postgres", 1, 3),
    "postgres-after-commit": FaultKind("postgres", 1, 3),
    "valkey-stop": FaultKind("valkey", 1, 8),
    "valkey-kill": FaultKind("valkey"),
    "valkey-flush": FaultKind("valkey"),
    "valkey-wipe": FaultKind("valkey", 0, 3),
    "valkey-stall": FaultKind("valkey", 2, 12),
    "valkey-cut": FaultKind("valkey"),
    "valkey-full": FaultKind("valkey", 1, 6),
    "valkey-lost-answers": FaultKind("valkey", 1, 3),
    "s3-stop": FaultKind("s3", 1, 8),
    "s3-kill": FaultKind("s3"),
    "s3-stall": FaultKind("s3", 1, 8),
    "s3-refuse": FaultKind("s3", 1, 6),
    "s3-503": FaultKind("s3", 1, 6),
    "s3-cut-uploads": FaultKind("s3", 1, 3),
    "s3-lost-answers": FaultKind("s3", 1, 3),
    "portal-refuse": FaultKind("portal", 0.5, 2),
    "portal-stall": FaultKind("portal", 1, 8),
    "portal-503": FaultKind("portal", 0.5, 2),
    "portal-cut": FaultKind("portal"),
    "portal-cut-files": FaultKind("portal", 1, 3),
}
FIRST_AT_S = 2.0
PAUSE_S = (0.5, 3.0)
# Seconds reserved for a fault of unknown duration: the restart of a process or a server.
RETURN_S = 1.5
COMPANY = 0.3


@dataclass(frozen=True)
class PlannedFault:
    """One fault, `at_s` seconds after the start. `pick` in [0, 1) makes the random choices."""

    number: int
    at_s: float
    kind: str
    for_s: float
    pick: float

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} at {self.at_s:.1f} s for {self.for_s:.1f} s"

    def choose(self, among: Sequence[str]) -> str:
        """Return one of these."""
        return among[int(self.pick * len(among))]


def named_kinds(names: Sequence[str]) -> list[str]:
    """Return the kinds that begin with one of `names` (none: all). Raises ValueError."""
    for name in names:
        if not any(kind.startswith(name) for kind in KINDS):
            raise ValueError(f"There is no fault {name!r}; there are {', '.join(KINDS)}.")
    return [kind for kind in KINDS if not names or kind.startswith(tuple(names))]


def plan_of(
    seed: int, kinds: Sequence[str], *, until_s: float, most: int = 0
) -> list[PlannedFault]:
    """Return faults in sequence, some together with a second one, until `until_s` seconds.

    Each kind comes once before any comes again. `most` above 0 limits their number.
    """
    chance = random.Random(f"faults {seed}")
    faults: list[PlannedFault] = []
    waiting: list[str] = []
    at_s = FIRST_AT_S
    while at_s < until_s and (not most or len(faults) < most):
        if len(waiting) < 2:
            waiting = [*waiting, *chance.sample(kinds, len(kinds))]
        first = _fault(chance, len(faults), at_s, waiting.pop(0))
        faults.append(first)
        beside = _company(chance, first.kind, waiting)
        if beside is not None and (not most or len(faults) < most):
            waiting.remove(beside)
            later_s = at_s + chance.uniform(0, max(first.for_s, RETURN_S))
            faults.append(_fault(chance, len(faults), later_s, beside))
        at_s = max(f.at_s + max(f.for_s, RETURN_S) for f in faults[-2:])
        at_s += chance.uniform(*PAUSE_S)
    return faults


def _company(chance: random.Random, kind: str, waiting: Sequence[str]) -> str | None:
    struck = set(KINDS[kind].strikes.split())
    fitting = [each for each in waiting if not struck & set(KINDS[each].strikes.split())]
    return fitting[0] if fitting and chance.random() < COMPANY else None


def _fault(chance: random.Random, number: int, at_s: float, kind: str) -> PlannedFault:
    for_s = chance.uniform(KINDS[kind].least_s, KINDS[kind].most_s)
    return PlannedFault(number, round(at_s, 2), kind, round(for_s, 2), chance.random())
