"""Test place and time: the forecast respects the limits and the queue's rule, and comes true."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.estimates.forecast import LAST, Forecast, RunningJob, forecast
from storage.estimates.request_times import UNMEASURED_S
from storage.portal.slots import Limits
from tests.simulation.queue_simulation import QueueSimulation, SimulatedJob

LIMITS = Limits(at_once=10, per_court=6, lanes=5)
COURTS = ("8.26", "8.19", "4.03")
REQUEST_S = {"8.26": 0.9, "8.19": 0.4, "4.03": 2.5}


def _job(number: int = 1, **values: object) -> RunningJob:
    job = RunningJob(
        job_id=UUID(int=number),
        client="one",
        court="8.26",
        is_bulk=False,
        weight=1.0,
        virtual_time=0.0,
        documents_left=100,
        requests_under_way=0,
    )
    return job._replace(**values)  # type: ignore[arg-type]


def _seconds(outlook: Forecast) -> float:
    assert outlook.seconds_left is not None
    return outlook.seconds_left


@st.composite
def _queues(draw: st.DrawFn, most: int = 12) -> list[RunningJob]:
    passes = st.floats(0, 100)
    jobs = []
    for number in range(draw(st.integers(1, most))):
        client = draw(st.sampled_from("abc"))
        jobs.append(
            RunningJob(
                job_id=UUID(int=number),
                client=client,
                court=draw(st.sampled_from(COURTS)),
                is_bulk=draw(st.booleans()),
                weight=draw(st.sampled_from([1.0, 4.0])),
                virtual_time=draw(passes),
                documents_left=draw(st.none() | st.integers(0, 300)),
                requests_under_way=draw(st.sampled_from([0, 0, 1, 5])),
            )
        )
    return jobs


def _waits(job: RunningJob) -> bool:
    return job.requests_under_way == 0 and job.documents_left != 0


# Place.


@given(jobs=_queues())
def test_the_jobs_that_wait_are_numbered_and_no_others(jobs: list[RunningJob]) -> None:
    outlooks = forecast(jobs, LIMITS, REQUEST_S)

    places = [outlooks[job.job_id].queue_position for job in jobs if _waits(job)]
    assert sorted(p for p in places if p) == list(range(1, len(places) + 1))
    assert all(outlooks[job.job_id].queue_position is None for job in jobs if not _waits(job))


@given(jobs=_queues())
def test_a_place_follows_from_bulk_and_from_what_was_had(jobs: list[RunningJob]) -> None:
    outlooks = forecast(jobs, LIMITS, REQUEST_S)

    def place(job: RunningJob) -> int:
        return outlooks[job.job_id].queue_position or 0

    waiting = [job for job in jobs if _waits(job)]
    for one in waiting:
        for other in waiting:
            if one.is_bulk < other.is_bulk:
                assert place(one) < place(other)
            elif (one.client, one.is_bulk) == (other.client, other.is_bulk):
                assert one.virtual_time >= other.virtual_time or place(one) < place(other)


def test_clients_take_turns_before_the_second_job_of_any() -> None:
    many = [_job(n, client="many", virtual_time=n) for n in range(1, 6)]
    one = _job(9, client="one", virtual_time=1.5)

    outlooks = forecast([*many, one], LIMITS, {})

    assert [outlooks[j.job_id].queue_position for j in many] == [1, 3, 4, 5, 6]
    assert outlooks[one.job_id].queue_position == 2


def test_a_held_job_keeps_its_place_and_is_not_counted() -> None:
    jobs = [_job(n, virtual_time=n, court="4.03" if n == 2 else "8.26") for n in (1, 2, 3)]

    outlooks = forecast(jobs, LIMITS, {}, held_courts={"4.03"})

    assert [outlooks[job.job_id].queue_position for job in jobs] == [1, 2, 2]
    assert outlooks[jobs[1].job_id].seconds_left is None


# Time.


@pytest.mark.parametrize(
    ("documents", "lanes"), [(1, 5), (5, 5), (100, 5), (2_000, 5), (100, 1), (100, 20)]
)
def test_a_job_alone_takes_its_lanes_and_no_more_than_the_court_allows(
    documents: int, lanes: int
) -> None:
    job = _job(documents_left=documents)
    limits = replace(LIMITS, lanes=lanes)

    seconds = _seconds(forecast([job], limits, REQUEST_S)[job.job_id])

    at_once = min(documents, lanes, LIMITS.per_court)
    work_s = documents * REQUEST_S[job.court] / at_once
    assert work_s <= seconds <= work_s + LAST * at_once * REQUEST_S[job.court]


@given(jobs=_queues(), per_minute=st.none() | st.integers(5, 1_200))
def test_no_job_is_promised_more_than_the_limits(
    jobs: list[RunningJob], per_minute: int | None
) -> None:
    jobs = [job._replace(requests_under_way=0) for job in jobs]
    limits = replace(LIMITS, per_minute=per_minute)

    outlooks = forecast(jobs, limits, REQUEST_S, assumed_documents=7)

    documents = {j.job_id: 8 if j.documents_left is None else j.documents_left for j in jobs}
    work = {j.job_id: documents[j.job_id] * REQUEST_S[j.court] for j in jobs}
    ends = {j.job_id: _seconds(outlooks[j.job_id]) for j in jobs}
    nearly = 1 - 1e-6
    for job in jobs:
        most = max(1, min(LIMITS.lanes, documents[job.job_id]))
        assert ends[job.job_id] >= nearly * work[job.job_id] / most
    assert max(ends.values()) >= nearly * sum(work.values()) / limits.at_once
    for court in COURTS:
        of_court = [j.job_id for j in jobs if j.court == court]
        at_court = nearly * sum(work[i] for i in of_court) / limits.per_court
        assert max((ends[i] for i in of_court), default=0) >= at_court
    if per_minute:
        assert max(ends.values()) >= nearly * sum(documents.values()) * 60 / per_minute


@given(jobs=_queues(), held=st.sets(st.sampled_from(COURTS)))
def test_every_job_that_is_not_held_ends(jobs: list[RunningJob], held: set[str]) -> None:
    jobs = [job._replace(requests_under_way=0) for job in jobs]

    outlooks = forecast(jobs, LIMITS, REQUEST_S, held_courts=held)

    for job in jobs:
        never = job.court in held and job.documents_left != 0
        assert (outlooks[job.job_id].seconds_left is None) == never


@given(jobs=_queues(most=8), more=_queues(most=8))
def test_bulk_takes_nothing_from_the_others(jobs: list[RunningJob], more: list[RunningJob]) -> None:
    jobs = [job._replace(is_bulk=False) for job in jobs]
    bulk = [j._replace(job_id=UUID(int=1_000 + j.job_id.int), is_bulk=True) for j in more]

    alone, beside = forecast(jobs, LIMITS, REQUEST_S), forecast([*jobs, *bulk], LIMITS, REQUEST_S)

    for job in jobs:
        assert _seconds(beside[job.job_id]) == pytest.approx(_seconds(alone[job.job_id]))
        assert beside[job.job_id].queue_position == alone[job.job_id].queue_position


def test_a_client_with_a_hundred_jobs_takes_no_more_than_its_half() -> None:
    limits = replace(LIMITS, per_court=100)
    many = [_job(n, client="many", documents_left=1_000) for n in range(1, 101)]
    small = _job(200, client="small", documents_left=50)

    seconds = _seconds(forecast([*many, small], limits, REQUEST_S)[small.job_id])

    assert seconds == pytest.approx(50 * 0.9 / 5, rel=0.15)


def test_a_high_job_ends_before_a_normal_one_of_the_same_client() -> None:
    normal = [_job(n, documents_left=200) for n in range(1, 10)]
    high = _job(99, documents_left=200, weight=4.0)

    outlooks = forecast([*normal, high], LIMITS, REQUEST_S)

    least = min(_seconds(outlooks[job.job_id]) for job in normal)
    assert _seconds(outlooks[high.job_id]) < least / 2


def test_what_is_under_way_ends_soon_however_many_wait() -> None:
    crowd = [_job(n, client=f"c{n}") for n in range(1, 101)]
    last = _job(999, documents_left=3, requests_under_way=3)

    seconds = _seconds(forecast([*crowd, last], LIMITS, REQUEST_S)[last.job_id])

    assert 0 < seconds < 2 * REQUEST_S[last.court]


def test_a_job_that_only_uploads_needs_no_more_requests() -> None:
    outlooks = forecast([_job(documents_left=0)], LIMITS, REQUEST_S)

    assert outlooks[UUID(int=1)] == Forecast(queue_position=None, seconds_left=0.0)


def test_a_court_without_requests_is_taken_for_an_ordinary_one() -> None:
    new = _seconds(forecast([_job()], LIMITS, {})[UUID(int=1)])

    assert new == _seconds(forecast([_job()], LIMITS, {"8.26": UNMEASURED_S})[UUID(int=1)])


def test_a_thousand_jobs_end_by_the_rule_of_equal_shares() -> None:
    # Each job alone in its client, with one lane: processor sharing, which has a closed form.
    dice = random.Random(1)
    documents = sorted(dice.randint(1, 500) for _ in range(1_000))
    jobs = [_job(n, client=f"c{n}", documents_left=d) for n, d in enumerate(documents)]
    limits = Limits(at_once=10, per_court=10, lanes=1)

    outlooks = forecast(jobs, limits, {"8.26": 1.0})

    over = 0
    for index, job in enumerate(jobs):
        exact = (over + (len(jobs) - index) * documents[index]) / 10
        # Never early: within a step, slots that became free may stay idle. Each of the last ten
        # jobs has one slot, which is all that it can use.
        if index < len(jobs) - 10:
            assert exact * 0.999 <= _seconds(outlooks[job.job_id]) <= exact * 1.05
        over += documents[index]


def test_what_comes_free_does_not_lie_idle_until_many_have_ended() -> None:
    # With so many jobs, a step spans two ends, and the second is far away.
    quick = _job(999, client="quick", documents_left=10)
    crowd = [_job(n, client="crowd", documents_left=1_000) for n in range(1, 100)]
    limits = replace(LIMITS, per_court=10)

    outlooks = forecast([quick, *crowd], limits, {"8.26": 1.0})

    assert _seconds(outlooks[crowd[-1].job_id]) == pytest.approx(99_000 / 10, rel=0.05)


# Comparison with the queue itself, request by request.


def _estimated_and_true(
    jobs: Sequence[SimulatedJob], sigma: float, seed: int
) -> list[tuple[float, float]]:
    """Return for each job the estimate after its first tenth, and its real duration, in seconds."""
    simulation = QueueSimulation(jobs, LIMITS, REQUEST_S, sigma, seed)
    estimated: dict[UUID, float] = {}
    for job in simulation.run():
        if job.job_id not in estimated and job.documents > job.done >= job.documents / 10:
            outlook = forecast(simulation.snapshot(), LIMITS, REQUEST_S)[job.job_id]
            estimated[job.job_id] = simulation.now + _seconds(outlook)
    return [(estimated[job.job_id], job.ended_s) for job in jobs]


def _fifty_jobs(dice: random.Random) -> list[SimulatedJob]:
    return [
        SimulatedJob(
            UUID(int=number),
            f"client {number % 10}",
            dice.choice(COURTS),
            documents=max(10, int(dice.lognormvariate(3.5, 0.9))),
            is_bulk=number % 17 == 0,
            weight=4.0 if number % 7 == 0 else 1.0,
        )
        for number in range(50)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_after_a_tenth_of_a_job_its_end_is_estimated_within_30_percent(seed: int) -> None:
    jobs = _fifty_jobs(random.Random(seed))

    pairs = _estimated_and_true(jobs, sigma=0.8, seed=seed)

    within = Counter(abs(estimated - true) <= 0.3 * true for estimated, true in pairs)
    assert within[True] >= 0.95 * len(jobs), pairs


@pytest.mark.parametrize("seed", range(5))
def test_a_large_job_among_small_ones_is_estimated_too(seed: int) -> None:
    small = [SimulatedJob(UUID(int=n), f"client {n % 5}", "8.26", 43) for n in range(1, 21)]
    large = SimulatedJob(UUID(int=99), "large", "8.26", 1_000)

    pairs = _estimated_and_true([*small, large], sigma=0.8, seed=seed)

    assert all(abs(estimated - true) <= 0.3 * true for estimated, true in pairs)


def test_of_equal_jobs_none_ends_after_one_that_came_later() -> None:
    jobs = [_job(number, documents_left=3) for number in range(200, 0, -1)]

    seconds = [_seconds(outlook) for outlook in forecast(jobs, LIMITS, {}).values()]

    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[-1]
