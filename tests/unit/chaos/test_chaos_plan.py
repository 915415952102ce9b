"""Test that a seed always gives the same chaos plan, and that no target has two faults at once."""

from __future__ import annotations

import pytest

from tests.chaos.callers.workload import MOST_DOCUMENTS, workload_of
from tests.chaos.chaos_options import options_of
from tests.chaos.faults.fault_plan import KINDS, named_kinds, plan_of

ALL = tuple(KINDS)


def test_a_seed_gives_the_same_faults_and_jobs_each_time() -> None:
    assert plan_of(7, ALL, until_s=60) == plan_of(7, ALL, until_s=60)
    assert plan_of(7, ALL, until_s=60) != plan_of(8, ALL, until_s=60)
    jobs = [workload_of(seed, jobs=50, documents=5, over_s=60) for seed in (7, 7, 8)]
    assert jobs[0] == jobs[1] != jobs[2]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_struck_by_two_faults_at_once(seed: int) -> None:
    faults = plan_of(seed, ALL, until_s=300)
    for earlier in faults:
        for later in faults[earlier.number + 1 :]:
            is_during = later.at_s < earlier.at_s + earlier.for_s
            struck = [set(KINDS[fault.kind].strikes.split()) for fault in (earlier, later)]
            assert not (is_during and struck[0] & struck[1]), (earlier, later)


def test_every_kind_comes_before_any_comes_twice() -> None:
    kinds = [fault.kind for fault in plan_of(3, ALL, until_s=10_000, most=len(ALL))]

    assert sorted(kinds) == sorted(ALL)


def test_jobs_have_the_requested_average() -> None:
    plans = workload_of(1, jobs=2_000, documents=5, over_s=100)

    assert 4.5 < sum(plan.documents for plan in plans) / 2_000 < 5.5
    assert {plan.documents for plan in plans} >= {1, 2, 3, 5, 10, MOST_DOCUMENTS}
    assert all(0 <= plan.at_s <= 100 for plan in plans)


def test_faults_are_named_by_how_they_begin() -> None:
    assert named_kinds(["s3-cut", "scheduler"]) == [
        "scheduler-kill",
        "scheduler-freeze",
        "s3-cut-uploads",
    ]
    assert options_of(["--seed", "4", "--faults", "valkey-flush"]).kinds == ("valkey-flush",)
    with pytest.raises(ValueError, match="There is no fault 'mysql'"):
        named_kinds(["mysql"])
