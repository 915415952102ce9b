"""Test the estimate of request times from few samples: fast ones end first, and chance matters."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.estimates.request_times import Measured, expected_s

NOTHING_MEASURED = Measured(0.0, 0)
_MEASURED = st.builds(Measured, st.floats(0.001, 1e12), st.integers(0, 10**9), st.floats(0, 1e6))


def test_where_nothing_is_measured_nothing_is_expected() -> None:
    assert expected_s({}) == {}
    assert expected_s({"8.26": NOTHING_MEASURED}) == {}


@given(st.dictionaries(st.sampled_from(["8.26", "8.19", "5.02", "4.03"]), _MEASURED))
def test_what_is_expected_lies_between_the_courts(measured: dict[str, Measured]) -> None:
    own = [m.mean_s + m.under_way_s / m.requests for m in measured.values() if m.requests]

    for seconds in expected_s(measured).values():
        assert min(own) * 0.999 <= seconds <= max(own) * 1.001


def test_a_court_with_many_requests_has_its_own_mean() -> None:
    courts = {"8.26": Measured(0.5, 10_000), "8.19": Measured(1.0, 10_000)}

    assert expected_s(courts) == pytest.approx({"8.26": 0.5, "8.19": 1.0}, rel=0.02)


def test_a_court_without_requests_is_like_the_others() -> None:
    courts = {"8.26": Measured(2.0, 100), "8.19": NOTHING_MEASURED}

    assert expected_s(courts)["8.19"] == pytest.approx(2.0)


def test_a_slow_court_is_found_to_be_slow_after_a_handful() -> None:
    courts = {f"8.{n:02d}": Measured(0.5, 7) for n in range(1, 10)} | {"8.26": Measured(5.0, 7)}

    times = expected_s(courts)

    assert 4.5 < times["8.26"] <= 5.0
    assert times["8.01"] == pytest.approx(0.5)


def test_chance_does_not_make_courts_differ() -> None:
    dice = random.Random(1)
    means = [statistics.fmean(dice.expovariate(1.0) for _ in range(7)) for _ in range(200)]

    times = expected_s({str(n): Measured(mean, 7) for n, mean in enumerate(means)})

    def error(seconds: list[float]) -> float:
        return statistics.fmean(abs(s - 1.0) for s in seconds)

    assert error(list(times.values())) < 0.7 * error(means)


def test_slow_requests_count_before_they_end() -> None:
    # Five lanes for two seconds: the requests that ended first were the fast ones.
    assert expected_s({"8.26": Measured(0.4, 10, 6.0)})["8.26"] == pytest.approx(1.0)
