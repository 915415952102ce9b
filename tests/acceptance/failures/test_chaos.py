"""A short chaos run: every acknowledged job ends once, whatever is killed and cut meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos_options import ChaosOptions
from tests.chaos.chaos_run import run_seed
from tests.chaos.report import table

# One of each sort that is over soon. What needs half a minute to be over is for the long runs.
KINDS = (
    "worker-kill",
    "uploader-kill",
    "postgres-cut",
    "postgres-after-commit",
    "valkey-flush",
    "s3-503",
)
# Nothing is frozen here: a lease is to be lost by a kill only, and not by a busy machine.
LEASE_S = 10


# What the run itself waits for the end of everything comes first.
@pytest.mark.timeout(500)
def test_nothing_is_lost_in_a_short_storm(tmp_path: Path) -> None:
    options = ChaosOptions(
        seed=38,
        jobs=24,
        documents=8,
        minutes=0.25,
        most_faults=6,
        kinds=KINDS,
        folder=tmp_path,
        lease_s=LEASE_S,
    )

    outcome = run_seed(options, options.seed)

    told = "\n".join(table(outcome))
    print(told)
    assert not outcome.problems, told
    assert outcome.acknowledged >= options.jobs
    assert {fault.kind for fault in outcome.faults} == set(KINDS)
