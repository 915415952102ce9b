"""Threads that ask at once are answered together, each with its own answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.combiner import GATHER_S, LATER, MOST, STAY_S, Combiner, Later

PATIENCE_S = 60


def test_who_asks_while_a_round_is_under_way_is_answered_in_the_next() -> None:
    rounds: list[Sequence[int]] = []
    first_may_end, first_has_begun = threading.Event(), threading.Event()

    def double(questions: Sequence[int]) -> list[int]:
        rounds.append(questions)
        first_has_begun.set()
        assert first_may_end.wait(PATIENCE_S)
        return [2 * each for each in questions]

    combiner = Combiner(double)
    with ThreadPoolExecutor(MOST) as pool:
        alone = pool.submit(combiner.ask, 0)
        assert first_has_begun.wait(PATIENCE_S)
        others = [pool.submit(combiner.ask, number) for number in range(1, MOST)]
        while len(combiner._waiting) < MOST - 1:  # they wait for the first round
            threading.Event().wait(0.001)
        first_may_end.set()

        assert alone.result(PATIENCE_S) == 0
        assert [each.result(PATIENCE_S) for each in others] == list(range(2, 2 * MOST, 2))
    assert [len(each) for each in rounds] == [1, MOST - 1]


def test_many_threads_get_their_own_answers() -> None:
    def negate(questions: Sequence[int]) -> list[int]:
        return [-each for each in questions]

    combiner = Combiner(negate)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(combiner.ask, range(5_000)))

    assert answers == [-number for number in range(5_000)]


def test_an_error_is_raised_by_all_who_asked_and_the_next_is_answered() -> None:
    def odd(questions: Sequence[int]) -> list[int]:
        if 13 in questions:
            raise ValueError(questions)
        return list(questions)

    combiner = Combiner(odd)
    with pytest.raises(ValueError, match="13"):
        combiner.ask(13)

    assert combiner.ask(7) == 7


def test_what_is_left_unanswered_is_asked_again_before_what_came_later() -> None:
    rounds: list[list[int]] = []
    gate = threading.Event()

    def first_two(questions: Sequence[int]) -> list[int | Later]:
        assert gate.wait(PATIENCE_S)
        rounds.append(list(questions))
        return [*(-each for each in questions[:2]), *[LATER] * len(questions[2:])]

    combiner = Combiner(first_two)
    with ThreadPoolExecutor(MOST) as pool:
        asked = [pool.submit(combiner.ask, number) for number in range(7)]
        while len(combiner._waiting) < 6:
            threading.Event().wait(0.001)
        gate.set()
        assert [each.result(PATIENCE_S) for each in asked] == [-number for number in range(7)]

    assert [len(each) for each in rounds] == [1, 6, 4, 2]
    assert rounds[2] == rounds[1][2:]


class _Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _used(combiner: Combiner[int, int], clock: _Clock, busy_s: float) -> None:
    """Has one thread ask often, and be busy for so long in between."""
    for number in range(100):
        clock.now += busy_s
        combiner.ask(number)


def test_a_round_waits_for_the_others_while_requests_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds: list[int] = []
    clock = _Clock()

    def count(questions: Sequence[int]) -> list[int]:
        rounds.append(len(questions))
        clock.now += 0.001
        return [0 for _ in questions]

    combiner = Combiner(count, threads=MOST, clock=clock)
    with combiner.taking_part():
        _used(combiner, clock, 0.001)
    rounds.clear()
    here = threading.Barrier(3)
    # Longer than a busy machine keeps anybody from asking.
    monkeypatch.setattr("actors.combiner.GATHER_S", PATIENCE_S)
    monkeypatch.setattr("actors.combiner.RATE_PER_S", 1 / PATIENCE_S)
    monkeypatch.setattr("actors.combiner.ROUNDS", 1000 * PATIENCE_S)

    def ask(after_s: float) -> None:
        with combiner.taking_part():
            here.wait(PATIENCE_S)
            threading.Event().wait(after_s)
            combiner.ask(0)

    with ThreadPoolExecutor(3) as pool:
        begun = time.monotonic()
        list(pool.map(ask, (0.0, GATHER_S / 4, GATHER_S / 4)))

    assert rounds == [3]
    assert time.monotonic() - begun < PATIENCE_S, "all who take part are there: nobody waits longer"


@pytest.mark.parametrize(("busy_s", "round_s"), [(0.4, GATHER_S), (0.001, GATHER_S / 100)])
def test_a_round_does_not_wait_when_requests_are_long_or_rounds_short(
    busy_s: float, round_s: float
) -> None:
    clock = _Clock()

    def work(questions: Sequence[int]) -> list[int]:
        clock.now += round_s
        return [0 for _ in questions]

    combiner = Combiner(work, threads=MOST, clock=clock)
    with combiner.taking_part():
        _used(combiner, clock, busy_s)
        # As if many were on their way.
        combiner._taking_part += 10
        begun = time.monotonic()
        for _ in range(100):
            clock.now += busy_s
            combiner.ask(0)

    assert time.monotonic() - begun < 100 * GATHER_S / 2


def test_who_gets_nothing_stays_while_requests_are_short_and_then_ends() -> None:
    asked: list[float] = []
    clock = _Clock()

    def nothing(questions: Sequence[int]) -> list[None]:
        asked.append(clock.now)
        clock.now += STAY_S / 4
        return [None for _ in questions]

    combiner = Combiner[int, int](nothing, threads=MOST, clock=clock)
    combiner._taking_part = MOST - 1
    with combiner.taking_part():
        combiner._busy_s = 0.0
        assert combiner.ask(1) is None

    assert len(asked) == 4, "again and again, until it has stayed long enough"

    asked.clear()
    with combiner.taking_part():
        combiner._busy_s = 1.0
        assert combiner.ask(1) is None

    assert len(asked) == 1, "threads are scarce: it ends at once"


def test_what_comes_meanwhile_is_given_to_who_stays() -> None:
    clock = _Clock()
    answers: list[int | None] = [None, None, 7]
    combiner = Combiner[int, int](
        lambda questions: [answers.pop(0) for _ in questions], threads=MOST, clock=clock
    )
    combiner._taking_part = MOST - 1
    with combiner.taking_part():
        combiner._busy_s = 0.0
        assert combiner.ask(1) == 7


def test_who_stayed_is_told_of_an_error_and_the_next_is_answered() -> None:
    rounds = 0

    def work(questions: Sequence[int]) -> list[int | None]:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise ValueError("no database")
        return [None if rounds == 1 else 7 for _ in questions]

    combiner = Combiner[int, int](work, threads=MOST, clock=_Clock())
    combiner._taking_part = MOST
    combiner._busy_s = 0.0
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="no database"):
            combiner.ask(1)
        assert pool.submit(combiner.ask, 2).result(PATIENCE_S) == 7


def test_few_threads_do_not_wait_as_long_as_many_could() -> None:
    combiner = Combiner[int, int](lambda questions: [0 for _ in questions], threads=MOST)
    with combiner.taking_part():
        combiner._busy_s = 0.02
        assert combiner._spare_s < 0
        combiner._taking_part = MOST
        assert combiner._spare_s > GATHER_S
