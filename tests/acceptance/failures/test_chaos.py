"""Run chaos briefly: every acknowledged job ends once, whatever fails meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos_options import ChaosOptions
from tests.chaos.chaos_run import run_seed
from tests.chaos.report import table

# One fault of each kind that ends soon. Faults that last half a minute belong to the long runs.
KINDS = (
    "worker-kill",
    "uploader-kill",
    "postgres-cut",
    "postgres-after-commit",
    "valkey-flush",
    "s3-503",
)
# No process is frozen here: only a kill may lose a lease, not a busy machine.
LEASE_S = 10


# The run's own deadline for the end of all jobs expires first.
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

    printed = "\n".join(table(outcome))
    print(printed)
    assert not outcome.problems, printed
    assert outcome.acknowledged >= options.jobs
    assert {fault.kind for fault in outcome.faults} == set(KINDS)
