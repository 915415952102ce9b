"""Test the bench's figures on journals counted by hand, and its checks on bad journals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.fairness.gps_reference import Share, Work, alone_s, shares
from tests.bench.portal_load import bench_checks, figures_table
from tests.bench.portal_load.bench_options import BenchOptions
from tests.bench.portal_load.portal_process import Counts
from tests.bench.traffic import journal_figures, latency_record, slot_usage
from tests.bench.traffic.journal_figures import Attempts, MeasuredJob, Pauses, Spread
from tests.bench.traffic.slot_usage import Outage, Room
from tests.sandbox.admission import Visit
from tests.sandbox.court_cases.cnj import process_number
from tests.sandbox.latency_profile import Burst

ROOM = Room(at_once=10, per_court=6, lanes=5)


def number(sequence: int, court: str = "8.26") -> str:
    return process_number(sequence, 2025, court)


def job(
    sequence: int = 1, *, client: str = "one", court: str = "8.26", documents: int = 2
) -> MeasuredJob:
    """Return a completed job of `documents`, from 0 to 100 s, with one attempt for each."""
    attempts = {f"{sequence}/{i}": 1 for i in range(documents)}
    return MeasuredJob(
        client, number(sequence, court), documents, 0.0, 100.0, "COMPLETED", attempts
    )


def file(
    of: MeasuredJob,
    position: int,
    begin: float,
    end: float | None,
    status: int = 200,
    **more: float,
) -> Visit:
    uuid = f"{of.number and int(of.number[:7])}/{position}"
    return Visit("file", of.number, of.court, uuid, begin, end, status, **more)  # type: ignore[arg-type]


def listing(of: MeasuredJob, begin: float, end: float, status: int = 200) -> Visit:
    return Visit("list", of.number, of.court, None, begin, end, status)


# Attempts and failures that do not count.


def test_attempts_that_met_an_outage_are_counted_separately() -> None:
    one = job(documents=4)
    one = replace(one, attempts={"1/0": 1, "1/1": 3, "1/2": 2, "1/3": 2})
    visits = [
        file(one, 1, 0, 1, 503),
        file(one, 1, 2, 3, 0),
        file(one, 2, 0, 1, 429),
        file(one, 0, 0, 1, 429),
    ]
    assert journal_figures.attempts_burnt(visits, [one]) == Attempts(2, 1, 1)


def test_document_given_twice_or_never_is_named() -> None:
    one = job(documents=3)
    visits = [file(one, 0, 0, 1), file(one, 1, 0, 1), file(one, 1, 1, 2), file(one, 2, 0, 1, 503)]
    assert journal_figures.not_once(visits, [one]) == ["1/1", "1/2"]


# Pauses.


def test_request_within_a_pause_counts_once_and_those_on_their_way_do_not() -> None:
    one = job()
    visits = [
        file(one, 0, 9.0, 10.0, 429, retry_after_s=3.0),
        file(one, 1, 9.5, 10.1, 429, retry_after_s=3.0),
        file(one, 2, 10.4, 11.0),
        file(one, 3, 11.5, 12.0),
        file(one, 4, 13.2, 14.0),
    ]
    assert journal_figures.pauses(visits, grace_s=0.5) == Pauses(requested=2, broken=1)
    assert journal_figures.pauses(visits[:3] + visits[4:], grace_s=0.5) == Pauses(
        requested=2, broken=0
    )


# Waiting times.


def test_waits_are_listed_by_client_from_the_start_of_each_job() -> None:
    first, second = job(1), replace(job(2), start=50.0)
    other = job(3, client="two")
    visits = [
        file(first, 0, 1, 5, 503),
        file(first, 1, 6, 7),
        file(second, 0, 60, 62),
        file(second, 1, 57, 58),
        file(other, 0, 1, 2),
    ]
    figures = journal_figures.waits(visits, [first, second, other])
    assert figures["one"].jobs == 2
    assert figures["one"].to_first_document == Spread(7.5, 8.0, 8.0)
    assert figures["one"].to_end == Spread(75.0, 100.0, 100.0)
    assert figures["two"].to_first_document.median == 2.0


def test_spread_of_many() -> None:
    assert Spread.of(range(1, 101)) == Spread(50.5, 95, 100)


# The free capacity and its use.


def used(
    visits: Sequence[Visit], jobs: Sequence[MeasuredJob], away: Sequence[Outage] = ()
) -> slot_usage.Use:
    return slot_usage.use(slot_usage.slices(visits, jobs, away), jobs, ROOM, away)


def test_room_is_used_up_when_no_usable_slot_is_free() -> None:
    one = job(documents=5)
    visits = [listing(one, 0, 1), *(file(one, i, 1, 2 + i) for i in range(5))]
    figures = used(visits, [one])
    assert figures.ratio == 1
    assert figures.used_s == 1 + (1 + 2 + 3 + 4 + 5)


def test_gap_between_two_requests_is_room_that_was_lost() -> None:
    one = job(documents=2)
    visits = [listing(one, 0, 1), file(one, 0, 1, 3), file(one, 1, 2, 3)]
    assert used(visits, [one]).ratio == (1 + 2 + 1) / (1 + 2 + 2)


def test_lanes_courts_and_the_whole_bound_what_is_possible() -> None:
    def possible(*jobs: MeasuredJob) -> float:
        visits = [listing(each, 0, 1) for each in jobs]
        visits += [file(each, i, 2, 3) for each in jobs for i in range(each.documents)]
        cuts = [cut for cut in slot_usage.slices(visits, jobs) if cut.begin == 1]
        return slot_usage.use(cuts, jobs, ROOM, ()).possible_s

    assert possible(job(1, documents=9)) == 5
    assert possible(job(1, documents=9), job(2, documents=9)) == 6
    assert possible(*(job(i, court=f"8.0{i}", documents=9) for i in range(1, 4))) == 10


def test_failed_request_leaves_its_document_to_be_requested() -> None:
    one = job(documents=1)
    visits = [listing(one, 0, 1), file(one, 0, 1, 2, 503), file(one, 0, 3, 4)]
    assert used(visits, [one]).possible_s == 4


def test_court_that_is_away_is_no_room() -> None:
    near, away = job(1, documents=1), job(2, court="5.02", documents=1)
    visits = [
        listing(near, 0, 1),
        listing(away, 0, 1),
        file(near, 0, 1, 9),
        file(away, 0, 1, 2, 503),
        file(away, 0, 8, 9),
    ]
    assert used(visits, [near, away]).ratio < 0.8
    outage = slot_usage.outages([Burst(0, 3, 503, "5.02")], 1.0, visits, [near, away])
    assert outage == [Outage("5.02", 1.0, 4.0, 9)]
    assert outage[0].back_s == 5
    # The court's outage begins in the middle of a slice; its capacity is zero from then on.
    middle = [replace(outage[0], begin=4.0)]
    assert used(visits, [near, away], middle).possible_s == 2 + 3 * 2 + 5
    assert used(visits, [near, away], outage).ratio == 1


def test_outage_of_all_ends_for_each_court_with_its_own_good_answer() -> None:
    one, two, lost = job(1), job(2, court="5.02"), job(3, court="4.03")
    visits = [file(one, 0, 5, 6), file(two, 0, 7, 8), file(lost, 0, 7, 8, 503)]
    found = slot_usage.outages([Burst(1, 2)], 0.0, visits, [one, two, lost])
    assert {outage.court: outage.end for outage in found} == {"8.26": 6, "5.02": 8}


def test_share_is_of_the_time_in_which_all_clients_waited() -> None:
    one, two = job(1, documents=4), job(2, client="two", documents=2)
    visits = [
        listing(one, 0, 1),
        listing(two, 0, 1),
        *(file(one, i, 1, 2) for i in range(3)),
        file(two, 0, 1, 2),
        # From here on all that remains of "two" is in progress.
        file(two, 1, 2, 4),
        file(one, 3, 2, 3),
    ]
    figures = used(visits, [one, two])
    assert figures.turns == {"one": 3, "two": 1}
    assert figures.share == {"one": 0.75, "two": 0.25}


# The checks.


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        (Counts(10, {"8.26": 6}, 0), []),
        (Counts(11, {"8.26": 6}, 0), ["at most 10 at once"]),
        (Counts(10, {"8.26": 6, "5.02": 7}, 0), ["at most 6 per court"]),
        (Counts(10, {}, 1), ["no 429"]),
    ],
)
def test_limits_are_checked_by_what_the_portal_counted(counts: Counts, wrong: list[str]) -> None:
    assert [c.promise for c in bench_checks.of_limits(counts, ROOM) if not c.holds] == wrong


def test_jobs_are_checked_to_be_whole() -> None:
    one = job(documents=1)
    planned = {one.number: 1}
    good = [file(one, 0, 1, 2)]
    assert all(check.holds for check in bench_checks.of_jobs([one], planned, good))
    for jobs, visits, plan in (
        ([replace(one, state="FAILED")], good, planned),
        ([one], [], planned),
        ([one], good * 2, planned),
        ([one], good, {one.number: 2}),
        ([replace(one, attempts={"1/0": 2})], good, planned),
    ):
        assert not all(check.holds for check in bench_checks.of_jobs(jobs, plan, visits))


def test_throughput_and_return_of_courts_are_checked() -> None:
    one = job(documents=1)
    use = used([listing(one, 0, 1), file(one, 0, 1, 9)], [one])
    away = [Outage("8.26", 0, 3, 7)]
    assert all(check.holds for check in bench_checks.of_use(use, away, 1, probe_base_s=1))
    late = [replace(away[0], end=100)]
    for figures in (
        bench_checks.of_use(replace(use, used_s=0.9 * use.possible_s), away, 1, probe_base_s=1),
        bench_checks.of_use(use, away, 2, probe_base_s=1),
        bench_checks.of_use(use, late, 1, probe_base_s=1),
    ):
        assert [check.holds for check in figures].count(False) == 1


def test_turns_are_checked_to_be_equal_when_there_are_enough() -> None:
    one = job(documents=1)
    use = used([listing(one, 0, 1), file(one, 0, 1, 9)], [one])

    def figures(**turns: int) -> list[bool]:
        return [check.holds for check in bench_checks.of_turns(replace(use, turns=turns))]

    assert figures(one=100, two=110, three=90) == [True]
    assert figures(one=130, two=100, three=100) == [False]
    assert figures(one=9, two=1) == []


def test_pauses_are_checked_to_come_and_to_be_kept() -> None:
    one = job()
    requested = file(one, 0, 0, 1, 429, retry_after_s=5.0)
    assert all(check.holds for check in bench_checks.of_pauses([requested, file(one, 1, 6.1, 7)]))
    assert not all(check.holds for check in bench_checks.of_pauses([requested, file(one, 1, 3, 7)]))
    assert not all(check.holds for check in bench_checks.of_pauses([file(one, 1, 3, 7)]))


# The timeline, the plan and the record.


def test_timeline_shows_the_mean_of_each_stretch() -> None:
    one = job()
    means = figures_table.at_once([file(one, 0, 0, 72), file(one, 1, 0, 18), file(one, 2, 9, 9.5)])
    assert len(means) == figures_table.COLUMNS
    assert [round(mean, 6) for mean in means] == [2.0] * 9 + [2.5] + [2.0] * 8 + [1.0] * 54
    assert figures_table.at_once([]) == []


def test_half_of_the_jobs_are_one_clients_and_every_client_has_several_courts() -> None:
    plan = list(BenchOptions(50, 20, 1, 1.0).plan())
    assert plan == list(BenchOptions(50, 20, 1, 1.0).plan())
    by_client = {client: [c for c, _, _ in plan].count(client) for client, _, _ in plan}
    assert len(by_client) == 5
    assert by_client["default"] == 25
    assert all(len({court for c, court, _ in plan if c == client}) > 1 for client in by_client)
    assert sum(documents for _, _, documents in plan) == pytest.approx(1_000, rel=0.1)


def test_recorded_latencies_are_read_as_they_were(tmp_path: Path) -> None:
    one = job()
    visits = [file(one, i, 0, i / 1000) for i in range(1, 700)]
    visits.insert(3, file(one, 0, 0, 9, 503))
    latency_record.write(tmp_path / "latencies.json", visits)
    assert latency_record.read(tmp_path / "latencies.json") == [i / 1000 for i in range(1, 501)]
    assert len(latency_record.read()) == 500


# The ideal of fairness.


def work(at_s: float, client: str, seconds: float = 10.0, **more: str) -> Work:
    """Return a job of many tiny documents in its own court that take `seconds` in all."""
    given = {"court": f"{client}{at_s}", "priority": "NORMAL"} | more
    return Work(at_s, client, given["court"], given["priority"], 0.0, (seconds / 100,) * 100)


def ended(*works: Work, room: Room = ROOM) -> list[float]:
    return [round(share.ended_s, 2) for share in shares(works, room)]


def test_ideal_is_shared_by_client_then_by_job() -> None:
    wide = Room(at_once=9, per_court=9, lanes=9)
    # "one" has three slots for each of two jobs once "two" has ended.
    together = ended(work(0, "one", 9), work(1e-9, "one", 9), work(0, "two", 4.5), room=wide)
    assert together == [2.5, 2.5, 1.0]


def test_ideal_keeps_to_lanes_and_courts() -> None:
    assert ended(work(0, "one")) == [2.0]
    same = [work(0, client, court="8.26") for client in ("one", "two")]
    assert ended(*same) == [3.33, 3.33]


def test_ideal_of_a_job_that_comes_later_counts_from_then() -> None:
    assert ended(work(0, "one"), work(10, "two")) == [2.0, 12.0]


def test_ideal_respects_priorities() -> None:
    narrow = Room(at_once=5, per_court=5, lanes=5)
    high, normal = work(0, "one", 4, priority="HIGH"), work(1, "one", 4)
    bulk = work(2, "two", 5, priority="BULK")
    at_zero = [replace(each, at_s=0.0) for each in (high, normal, bulk)]
    assert ended(*at_zero, room=narrow) == [1.0, 1.6, 2.6]


def test_alone_is_the_listing_and_then_whole_requests_on_as_many_lanes() -> None:
    one = Work(10.0, "one", "8.26", "NORMAL", 1.0, (2.0, 2.0, 2.0, 2.0))
    assert alone_s(one, Share(11.0, 15.0, slots=2.0)) == 1 + 4
    assert alone_s(one, Share(12.0, 28.0, slots=0.5)) == 2 + 16
    assert alone_s(one, Share(11.0, 16.0, slots=1.6)) == 1 + 4 * 2 / 1.6


def test_ideal_ends_in_any_crowd() -> None:
    dice = random.Random(1)
    crowd = [
        replace(work(dice.uniform(0, 5), f"client {i % 7}", dice.uniform(1, 20)), listing_s=0.3)
        for i in range(30)
    ]
    found = shares(crowd, ROOM)
    for share, each in zip(found, crowd, strict=True):
        assert each.at_s < share.listed_s < share.ended_s
        assert 0 < share.slots <= ROOM.lanes
