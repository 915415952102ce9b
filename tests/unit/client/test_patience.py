"""Test retries: soon at first, then less often, as the server requests, and not for ever."""

from __future__ import annotations

import pytest

from autos._client.patience import MAX_PAUSE_S, Patience
from autos.errors import AutosError, LimitReached, NotFound, Unavailable


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _patience(total_s: float | None, dice: float = 0.5) -> tuple[Patience, Clock]:
    clock = Clock()
    return Patience(total_s, clock=clock, dice=lambda: dice), clock


def _gone(retry_delay_s: float | None = None) -> Unavailable:
    return Unavailable("away", retry_delay_s=retry_delay_s)


def test_pauses_double_up_to_a_limit() -> None:
    patience, _ = _patience(None)

    pauses = [patience.pause_s(_gone()) for _ in range(8)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_PAUSE_S, MAX_PAUSE_S]


def test_clients_cut_together_do_not_return_together() -> None:
    pauses = {_patience(None, dice)[0].pause_s(_gone()) for dice in (0.0, 0.5, 0.999)}

    assert len(pauses) == 3
    assert min(pauses) == 0.05


def test_the_servers_retry_delay_is_obeyed() -> None:
    patience, _ = _patience(30)

    assert patience.pause_s(_gone(1.25)) == 1.25
    assert patience.pause_s(LimitReached("too much", retry_delay_s=7)) == 7


def test_a_pause_beyond_the_time_that_is_left_is_not_begun() -> None:
    patience, clock = _patience(10)
    clock.now += 8
    too_much = LimitReached("too much", retry_delay_s=5)

    with pytest.raises(LimitReached) as caught:
        patience.pause_s(too_much)

    assert caught.value is too_much


@pytest.mark.parametrize("error", [NotFound("no"), LimitReached("too large"), AutosError("x")])
def test_what_stays_so_is_not_tried_again(error: AutosError) -> None:
    with pytest.raises(type(error)):
        _patience(None)[0].pause_s(error)


def test_retries_end_so_long_after_the_last_sign_of_life() -> None:
    patience, clock = _patience(10)
    clock.now += 9
    patience.heard()
    clock.now += 9
    assert patience.pause_s(_gone()) > 0
    clock.now += 1

    with pytest.raises(Unavailable):
        patience.pause_s(_gone())


def test_only_progress_makes_the_pauses_short_again() -> None:
    patience, _ = _patience(None)
    for _ in range(3):
        patience.pause_s(_gone())

    patience.heard()
    assert patience.pause_s(_gone()) == 0.8
    patience.progressed()
    assert patience.pause_s(_gone()) == 0.1


def test_a_call_that_ends_in_a_pause_names_what_failed_before_the_time_was_up() -> None:
    patience, clock = _patience(2.0)
    refused, late = Unavailable("refused"), Unavailable("late", reason="DEADLINE_EXCEEDED")

    patience.pause_s(refused)
    clock.now += 2.0

    with pytest.raises(Unavailable, match="refused"):
        patience.pause_s(late)


def test_a_server_that_never_answered_was_late() -> None:
    patience, clock = _patience(2.0)
    clock.now += 2.0

    with pytest.raises(Unavailable, match="late"):
        patience.pause_s(Unavailable("late", reason="DEADLINE_EXCEEDED"))
