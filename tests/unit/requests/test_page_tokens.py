"""Test page tokens: each continues its own call, and no other."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.rpc.page_requests import (
    MAX_LENGTH,
    fingerprint,
    open_document_token,
    open_job_token,
    page_token,
)
from storage.errors import InvalidRequest

HERE = fingerprint("ListJobs", "default", None, ())
ELSEWHERE = fingerprint("ListJobs", "default", None, ("FAILED",))


def _sealed(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _job_token(create_time: datetime, job_id: UUID) -> str:
    return page_token(HERE, create_time.isoformat(), str(job_id))


@given(
    moment=st.datetimes(
        min_value=datetime(2000, 1, 1),
        timezones=st.integers(-12, 12).map(lambda h: timezone(timedelta(hours=h))),
    ),
    job_id=st.uuids(),
)
def test_a_job_token_leads_to_its_job(moment: datetime, job_id: UUID) -> None:
    if moment.astimezone(timezone(timedelta(0))).year > 9000:
        return
    assert open_job_token(_job_token(moment, job_id), HERE) == (moment, job_id)


@given(position=st.integers(0, 2**31 - 1))
def test_a_document_token_leads_to_its_position(position: int) -> None:
    assert open_document_token(page_token(HERE, position), HERE) == position


def test_no_token_is_the_first_page() -> None:
    assert open_job_token("", HERE) is None
    assert open_document_token("", HERE) is None


def test_a_token_is_good_only_where_it_came_from() -> None:
    tokens = (
        _job_token(datetime.now(UTC), UUID(int=1)),
        page_token(HERE, 7),
    )
    for token in tokens:
        for open_token in (open_job_token, open_document_token):
            with pytest.raises(InvalidRequest):
                open_token(token, ELSEWHERE)


def test_a_token_of_one_kind_is_refused_by_the_other() -> None:
    with pytest.raises(InvalidRequest):
        open_job_token(page_token(HERE, 7), HERE)
    with pytest.raises(InvalidRequest):
        open_document_token(_job_token(datetime.now(UTC), UUID(int=1)), HERE)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(parts=st.lists(_JSON, max_size=4))
@example(parts=[True])
@example(parts=[-1])
@example(parts=[2**31])
@example(parts=["9999-12-31T23:59:59-23:59", str(UUID(int=1))])
@example(parts=["2025-01-01T00:00:00", str(UUID(int=1))])
@example(parts=[5, 5])
def test_a_forged_token_is_refused_or_harmless(parts: list[Any]) -> None:
    for open_token in (open_job_token, open_document_token):
        with contextlib.suppress(InvalidRequest):
            assert open_token(_sealed(HERE, *parts), HERE) is not None


@given(token=st.text(min_size=1, max_size=MAX_LENGTH + 10) | st.binary(min_size=1).map(str))
@example(token="[" * MAX_LENGTH)
@example(token=base64.urlsafe_b64encode(b"[" * 380).decode())
@example(token="A" * (MAX_LENGTH + 1))
def test_noise_is_refused(token: str) -> None:
    for open_token in (open_job_token, open_document_token):
        with pytest.raises(InvalidRequest):
            open_token(token, HERE)


@given(
    first=st.lists(st.text(), max_size=3),
    second=st.lists(st.text(), max_size=3),
)
def test_other_filters_have_another_fingerprint(first: list[str], second: list[str]) -> None:
    assert (fingerprint(*first) == fingerprint(*second)) == (first == second)
