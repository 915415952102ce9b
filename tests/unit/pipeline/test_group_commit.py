"""Test group commit: many threads submit, one of them commits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.pipeline.group_commit import MAX_ITEMS, GroupCommit


class Rounds:
    """Commits that wait until the test releases them, and the items of each."""

    def __init__(self) -> None:
        self.items: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def commit(self, items: Sequence[int]) -> list[int]:
        """Return the doubled items once the test lets the round end."""
        self.items.append(list(items))
        self.began.release()
        assert self.may_end.acquire(timeout=60)
        if -1 in items:
            raise ValueError("refused")
        return [2 * item for item in items]


def _await_waiting(group: GroupCommit[int, int], count: int) -> None:
    reached = threading.Event()
    while len(group._waiting) < count:
        reached.wait(0.001)


def test_what_comes_while_a_round_is_under_way_goes_with_the_next_one() -> None:
    rounds = Rounds()
    group = GroupCommit(rounds.commit)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(group.submit, 1)
        assert rounds.began.acquire(timeout=60)
        others = [pool.submit(group.submit, item) for item in (2, 3, 4)]
        _await_waiting(group, 3)
        rounds.may_end.release()
        assert rounds.began.acquire(timeout=60)
        rounds.may_end.release()

        assert first.result(60) == 2
        assert sorted(other.result(60) for other in others) == [4, 6, 8]
    assert rounds.items[0] == [1]
    assert sorted(rounds.items[1]) == [2, 3, 4]
    assert len(rounds.items) == 2


def test_an_error_reaches_every_thread_of_its_round_and_no_other() -> None:
    rounds = Rounds()
    group = GroupCommit(rounds.commit)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(group.submit, 1)
        assert rounds.began.acquire(timeout=60)
        others = [pool.submit(group.submit, item) for item in (2, -1)]
        _await_waiting(group, 2)
        rounds.may_end.release(2)

        assert first.result(60) == 2
        for other in others:
            with pytest.raises(ValueError, match="refused"):
                other.result(60)
        rounds.may_end.release()
        assert group.submit(5) == 10


def test_a_round_takes_no_more_than_its_limit_and_nothing_is_lost() -> None:
    rounds = Rounds()
    group = GroupCommit(rounds.commit)
    count = 3 * MAX_ITEMS
    with ThreadPoolExecutor(count + 1) as pool:
        futures = [pool.submit(group.submit, 0)]
        assert rounds.began.acquire(timeout=60)
        futures += [pool.submit(group.submit, item) for item in range(1, count)]
        _await_waiting(group, count - 1)
        rounds.may_end.release(count)

        assert sorted(future.result(60) for future in futures) == [2 * i for i in range(count)]
    assert max(map(len, rounds.items)) == MAX_ITEMS
