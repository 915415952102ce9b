"""Define the batches and watched cases of a run: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from tests.chaos.callers.workload import JobPlan
from tests.sandbox.court_cases.cnj import process_number
from tests.sandbox.portal import SandboxPortal

# A court of which the budget allows fewer cases than callers ask for. No other case is of it.
LIMITED_COURT = "5.02"
BATCH_SIZE = 6
# The reason of the hold of a job that waits for it.
BUDGET = "CASE_BUDGET"
# So many jobs of a run for each batch and for each watched case.
JOBS_PER_BATCH, JOBS_PER_WATCH = 24, 24
CHANGES = 2
DOCUMENTS, SIZE_BYTES = 2, 20_000


@dataclass(frozen=True)
class BatchPlan:
    """Jobs to be started together `at_s` seconds after the start, and again `repeats_s` later.

    `budget`: how many of its cases the budget allows, None for all of them.
    """

    index: int
    at_s: float
    repeats_s: float
    request_id: UUID
    numbers: tuple[str, ...]
    budget: int | None = None


@dataclass(frozen=True)
class WatchPlan:
    """A case that is watched from `at_s` seconds after the start, and gets `changes` documents."""

    index: int
    at_s: float
    number: str
    documents: int = DOCUMENTS
    changes: int = CHANGES


@dataclass(frozen=True)
class Mix:
    """What comes in beside single jobs. `jobs`: the plans of those."""

    jobs: Sequence[JobPlan]
    batches: Sequence[BatchPlan]
    watches: Sequence[WatchPlan]

    @property
    def settings(self) -> dict[str, str]:
        """Return the budgets: that of the court is too small, the other one exactly enough."""
        within = sum(
            len(batch.numbers) if batch.budget is None else batch.budget for batch in self.batches
        )
        limit = sum(batch.budget or 0 for batch in self.batches)
        return {
            "PDPJ_CASES_PER_DAY": str(len(self.jobs) + len(self.watches) + within),
            "PDPJ_CASES_PER_30_DAYS_BY_COURT": f"{LIMITED_COURT}={limit}",
        }


def mix_of(seed: int, plans: Sequence[JobPlan], *, over_s: float) -> Mix:
    """Return what comes in beside the jobs of `plans` within `over_s` seconds.

    The last batch is of the court with too small a budget.
    """
    chance = random.Random(f"mix {seed}")
    serial = iter(range(9_000_000, 10_000_000))
    count = 1 + max(1, len(plans) // JOBS_PER_BATCH)
    batches = [
        _batch(chance, index, over_s, serial, is_limited=index == count - 1)
        for index in range(count)
    ]
    # Early, so that there is time for the changes.
    watches = [
        WatchPlan(index, chance.uniform(0, over_s / 8), process_number(next(serial)))
        for index in range(max(1, len(plans) // JOBS_PER_WATCH))
    ]
    return Mix(plans, batches, watches)


def _batch(
    chance: random.Random,
    index: int,
    over_s: float,
    serial: Iterator[int],
    *,
    is_limited: bool,
) -> BatchPlan:
    court = LIMITED_COURT if is_limited else "8.26"
    return BatchPlan(
        index=index,
        at_s=chance.uniform(0, over_s / 4 if is_limited else over_s),
        repeats_s=chance.uniform(0.01, 10),
        request_id=UUID(int=chance.getrandbits(128), version=4),
        numbers=tuple(process_number(next(serial), court=court) for _ in range(BATCH_SIZE)),
        budget=BATCH_SIZE // 2 if is_limited else None,
    )


def make_mixed_cases(portal: SandboxPortal, mix: Mix) -> None:
    """Add the cases of batches and watches to the portal."""
    for batch in mix.batches:
        for number in batch.numbers:
            portal.add_case(documents=DOCUMENTS, size=SIZE_BYTES, number=number)
    for watch in mix.watches:
        portal.add_case(documents=watch.documents, size=SIZE_BYTES, number=watch.number)
