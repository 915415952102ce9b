"""Test filing times: every time that can be parsed safely has the promised form."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.case_file.filed_times import filed_local_time

SAO_PAULO, MATO_GROSSO, ACRE, TRF1 = "8.26", "8.11", "8.01", "4.01"
PROMISED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?")


@pytest.mark.parametrize(
    ("given_time", "local"),
    [
        ("2025-06-02T12:53:54", "2025-06-02T12:53:54"),
        ("2025-06-02T12:53:54.9", "2025-06-02T12:53:54.9"),
        ("2025-06-02T12:53:54.976541", "2025-06-02T12:53:54.976541"),
        ("2025-06-02T12:53", "2025-06-02T12:53"),
        ("2025-06-02 12:53:54", "2025-06-02T12:53:54"),
        ("2025-06-02T12:53:54,976", "2025-06-02T12:53:54.976"),
        ("2025-06-02T12:53:54-03:00", "2025-06-02T12:53:54"),
        ("2025-06-02T12:53:54.976-0300", "2025-06-02T12:53:54.976"),
        ("2025-06-02T12:53:54-03:00[America/Sao_Paulo]", "2025-06-02T12:53:54"),
        ("2025-06-02T12:53-03:00", "2025-06-02T12:53"),
        ("2025-06-02T15:53:54Z", "2025-06-02T12:53:54"),
        ("2025-06-02T15:53:54.976Z", "2025-06-02T12:53:54.976"),
        ("2025-06-02T15:53:54+00:00", "2025-06-02T12:53:54"),
        ("2018-12-02T15:53:54Z", "2018-12-02T13:53:54"),
        ([2025, 6, 2, 12, 53], "2025-06-02T12:53:00"),
        ([2025, 6, 2, 12, 53, 54], "2025-06-02T12:53:54"),
        ([2025, 6, 2, 12, 53, 54, 976_000_000], "2025-06-02T12:53:54.976"),
        (1748879634976, "2025-06-02T12:53:54.976"),
        ("1748879634976", "2025-06-02T12:53:54.976"),
        (1748879634, "2025-06-02T12:53:54"),
        (1748879634.976, "2025-06-02T12:53:54.976"),
        ("20250602125354", "2025-06-02T12:53:54"),
        ("20250602T155354Z", "2025-06-02T12:53:54"),
        ("20250602T125354.976-0300", "2025-06-02T12:53:54.976"),
        ("2025-06-02t15:53:54z", "2025-06-02T12:53:54"),
        ({"$date": {"$numberLong": "1748879634976"}}, "2025-06-02T12:53:54.976"),
        ("02/06/2025 12:53:54", "2025-06-02T12:53:54"),
        ({"$date": "2025-06-02T15:53:54.976Z"}, "2025-06-02T12:53:54.976"),
        ("2025-06-02T12:53:54.9765432109", "2025-06-02T12:53:54.976543210"),
        ("2025-06-02\t12:53:54", "2025-06-02T12:53:54"),
        ("2025/6/2 12:53:54", "2025-06-02T12:53:54"),
        ("2025-06-02 15:53:54 UTC", "2025-06-02T12:53:54"),
        ("02/06/2025 12:53:54.976", "2025-06-02T12:53:54.976"),
        ("02/06/2025 15:53:54Z", "2025-06-02T12:53:54"),
        ("2/6/2025, 12:53", "2025-06-02T12:53"),
        ("02/06/2025 às 12:53:54", "2025-06-02T12:53:54"),
        ("02-06-2025 12:53:54", "2025-06-02T12:53:54"),
        ("20250602T1253", "2025-06-02T12:53"),
        ("202506021253", "2025-06-02T12:53"),
        ("20250602 125354", "2025-06-02T12:53:54"),
        ("Mon, 02 Jun 2025 15:53:54 GMT", "2025-06-02T12:53:54"),
        ("Mon, 2 Jun 2025 12:53:54 -0300", "2025-06-02T12:53:54"),
        ("/Date(1748879634976-0300)/", "2025-06-02T12:53:54.976"),
        (1748879634976000, "2025-06-02T12:53:54.976"),
        (1748879634976541000, "2025-06-02T12:53:54.976541"),
        ([2025, 6, 2, 12, 53, 54, 976], "2025-06-02T12:53:54.976"),
        (["2025", "6", "2", "12", "53", "54"], "2025-06-02T12:53:54"),
        ([[2025, 6, 2], [12, 53, 54]], "2025-06-02T12:53:54"),
        (["2025-06-02T12:53:54"], "2025-06-02T12:53:54"),
        (
            {
                **{"year": 2025, "month": "JUNE", "monthValue": 6, "dayOfMonth": 2, "hour": 12},
                **{"minute": 53, "second": 54, "nano": 976_000_000},
            },
            "2025-06-02T12:53:54.976",
        ),
        (
            {
                "date": {"year": 2025, "month": 6, "day": 2},
                "time": {"hour": 12, "minute": 53, "second": 54, "nano": 0},
            },
            "2025-06-02T12:53:54",
        ),
        ({"epochSecond": 1748879634, "nano": 976_000_000}, "2025-06-02T12:53:54.976"),
    ],
)
def test_a_time_that_can_be_read_is_local_without_offset(given_time: object, local: str) -> None:
    assert filed_local_time(given_time, SAO_PAULO) == local


def test_a_moment_is_the_local_time_of_the_court() -> None:
    moment = "2025-06-02T15:53:54Z"
    assert filed_local_time(moment, MATO_GROSSO) == "2025-06-02T11:53:54"
    assert filed_local_time(moment, ACRE) == "2025-06-02T10:53:54"
    # A time with an offset is local time already.
    assert filed_local_time("2025-06-02T12:53:54-04:00", MATO_GROSSO) == "2025-06-02T12:53:54"


@pytest.mark.parametrize(
    ("given_time", "court", "kept"),
    [
        ("ontem", SAO_PAULO, "ontem"),
        ("2025-06-02", SAO_PAULO, "2025-06-02"),
        ("2025-13-02T12:53:54", SAO_PAULO, "2025-13-02T12:53:54"),
        ("2025-06-02T12:53:54+99:99", SAO_PAULO, "2025-06-02T12:53:54+99:99"),
        ("0001-01-01T00:00:00+14:00", SAO_PAULO, "0001-01-01T00:00:00+14:00"),
        ("9999-12-31T23:59:59-07:00", SAO_PAULO, "9999-12-31T23:59:59-07:00"),
        ("2025-06-30T23:59:60Z", SAO_PAULO, "2025-06-30T23:59:60Z"),
        ("31/02/2025 10:00:00", SAO_PAULO, "31/02/2025 10:00:00"),
        ("06/13/2025 12:53:54", SAO_PAULO, "06/13/2025 12:53:54"),
        ("02/06/25 12:53:54", SAO_PAULO, "02/06/25 12:53:54"),
        ("Mon, 02 Jun 2025 12:53:54 -0000", SAO_PAULO, "Mon, 02 Jun 2025 12:53:54 -0000"),
        ({"seconds": 5, "nanos": 0}, SAO_PAULO, '{"seconds": 5, "nanos": 0}'),
        ("0000-01-01T00:00:00", SAO_PAULO, "0000-01-01T00:00:00"),
        ("2025-06-02T15:53:54Z", TRF1, "2025-06-02T15:53:54Z"),
        (1748879634976, TRF1, "1748879634976"),
        ("20250602125354976", SAO_PAULO, "20250602125354976"),
        ([2025, 13, 2, 12, 53], SAO_PAULO, "[2025, 13, 2, 12, 53]"),
        ([2025, 6], SAO_PAULO, "[2025, 6]"),
        (5, SAO_PAULO, "5"),
        (
            {"year": 2025, "month": 5, "dayOfMonth": 2, "hourOfDay": 12, "minute": 53},
            SAO_PAULO,
            '{"year": 2025, "month": 5, "dayOfMonth": 2, "hourOfDay": 12, "minute": 53}',
        ),
        ({"a": 1, "b": 2}, SAO_PAULO, '{"a": 1, "b": 2}'),
        ("x\x00\u202ey" + "z" * 500, SAO_PAULO, "xy" + "z" * 98),
    ],
)
def test_what_cannot_be_read_surely_is_kept_as_given(
    given_time: object, court: str, kept: str
) -> None:
    assert filed_local_time(given_time, court) == kept


@pytest.mark.parametrize("nothing", [None, "", "  ", True, [], {}])
def test_a_time_without_information_is_empty(nothing: object) -> None:
    assert filed_local_time(nothing, SAO_PAULO) == ""


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
    | st.lists(st.integers(), min_size=5, max_size=7)
    | st.datetimes().map(str),
    st.sampled_from([SAO_PAULO, MATO_GROSSO, TRF1, "7.01", "9.13", "1.00"]),
)
def test_any_json_is_a_text_that_postgresql_takes(value: object, court: str) -> None:
    local = filed_local_time(value, court)
    assert "\0" not in local
    local.encode()
    assert len(local) <= 100
