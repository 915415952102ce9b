"""Test the delays of retries: their bounds hold for every random number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import PermanentError, TransientError
from storage.portal.retries import BACKOFF_CAP_S, JITTER, RetryPolicy, jittered
from storage.webhooks.webhook_rows import SCHEDULE_S, next_delay_s

POLICY = RetryPolicy(attempts=5, attempts_few=3, base_s=1.0)
BUSY = TransientError("PORTAL_UNAVAILABLE", "busy")
SELDOM = TransientError("PORTAL_ERROR", "odd", is_few=True)
NO = PermanentError("NO_ACCESS", "no")


@pytest.mark.parametrize(("made", "planned_s"), [(1, 1), (2, 3), (3, 9), (4, 27)])
def test_the_pause_triples_from_one_second(made: int, planned_s: float) -> None:
    delays = [POLICY.delay_s(BUSY, attempts_made=made) for _ in range(200)]

    assert all(d is not None and 0.8 * planned_s <= d <= 1.2 * planned_s for d in delays)
    assert len(set(delays)) > 1, "what failed together must not be tried together"


@given(base_s=st.floats(0, 1_000), made=st.integers(1, 19))
def test_the_pause_is_capped_at_a_minute_and_jitter(base_s: float, made: int) -> None:
    policy = RetryPolicy(attempts=20, attempts_few=3, base_s=base_s)

    delay_s = policy.delay_s(BUSY, attempts_made=made)

    assert delay_s is not None
    assert 0 <= delay_s <= BACKOFF_CAP_S * (1 + JITTER)


def test_a_retry_is_not_sooner_than_the_portal_asks() -> None:
    error = TransientError("PORTAL_ERROR", "not now")
    for named_s in (0.1, 30.0, 300.0):
        error.retry_after_s = named_s
        delay_s = POLICY.delay_s(error, attempts_made=1)
        assert delay_s is not None
        assert max(named_s, 0.8) <= delay_s <= max(named_s, 1) * (1 + JITTER)


@given(made=st.integers(1, 30))
def test_five_attempts_and_three_where_few_are_enough(made: int) -> None:
    assert (POLICY.delay_s(BUSY, attempts_made=made) is None) == (made >= 5)
    assert (POLICY.delay_s(SELDOM, attempts_made=made) is None) == (made >= 3)


@given(made=st.integers(1, 30))
def test_a_permanent_error_is_never_tried_again(made: int) -> None:
    assert POLICY.delay_s(NO, attempts_made=made) is None


@given(delay_s=st.floats(0, 1e6))
def test_jitter_is_a_fifth(delay_s: float) -> None:
    assert delay_s * 0.8 - 1e-9 <= jittered(delay_s) <= delay_s * 1.2 + 1e-9


@given(
    made=st.integers(1, len(SCHEDULE_S)),
    retry_after_s=st.one_of(st.none(), st.floats(-10, 1e7)),
)
def test_a_receivers_delay_is_bounded_between_once_and_twice_the_plan(
    made: int, retry_after_s: float | None
) -> None:
    planned_s = SCHEDULE_S[made - 1]

    delay_s = next_delay_s(made, retry_after_s)

    assert delay_s is not None
    assert planned_s * 0.8 <= delay_s <= 2 * planned_s * 1.2
    if retry_after_s is None or retry_after_s <= planned_s * 0.8:
        assert delay_s <= planned_s * 1.2
    else:
        assert delay_s >= min(retry_after_s, 2 * planned_s * 0.8)


def test_the_webhook_schedule_is_ten_attempts_over_days() -> None:
    minute, hour = 60, 3_600
    assert (
        5,
        *(5 * minute, 30 * minute),
        *(2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour),
    ) == SCHEDULE_S
    assert next_delay_s(9, None) is not None
    assert next_delay_s(10, None) is None
    assert next_delay_s(10, 60) is None
