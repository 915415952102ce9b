"""Threads that ask at once are answered together, each with its own answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.combiner import MOST, Combiner

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
