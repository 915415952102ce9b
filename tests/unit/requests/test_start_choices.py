"""Test that a wrong choice of a StartDownload is named by its field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc import page_requests
from server.rpc.requests import require_short
from server.rpc.starts import start_requests
from server.rpc.starts.start_requests import MOST_TEXT
from storage.clients.client_registry import CallingClient
from storage.errors import InvalidRequest
from storage.jobs.job_start import StartRequest
from storage.selections.selection import EVERYTHING, NOTHING, Selection
from storage.webhook_policy import WebhookPolicy

NUMBER = "0000001-05.2025.8.26.0100"
LABELS = {f"k{n}": "v" for n in range(16)}
DAY_S = 86_400


def _checked(**fields: Any) -> StartRequest:
    request = pb.StartDownloadRequest(process_number=NUMBER, **fields)
    require_short(request)
    return start_requests.start_request(
        request,
        client=CallingClient("default"),
        receivers=WebhookPolicy.from_entries(()),
        default_max_age_s=3_600,
    )


def _ahead(**length: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(**length))
    return moment


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("selection.document_ids", {"selection": {"document_ids": [str(uuid4()), "x"]}}),
        ("selection.document_ids", {"selection": {"document_ids": [str(uuid4())] * 10_001}}),
        ("selection.kinds", {"selection": {"kinds": ["x"] * 101}}),
        ("selection.kinds", {"selection": {"kinds": ["a\0b"]}}),
        ("selection.instances", {"selection": {"instances": ["a\0b"]}}),
        ("selection.kinds", {"selection": {"kinds": ["x" * (MOST_TEXT + 1)]}}),
        ("selection.instances", {"selection": {"instances": ["x" * (MOST_TEXT + 1)]}}),
        ("selection.filed_from_date", {"selection": {"filed_from_date": "02/06/2025"}}),
        ("selection.filed_from_date", {"selection": {"filed_from_date": "2025-02-30"}}),
        ("selection.filed_to_date", {"selection": {"filed_to_date": "20250602"}}),
        (
            "selection.filed_to_date",
            {"selection": {"filed_from_date": "2025-06-02", "filed_to_date": "2025-06-01"}},
        ),
        ("selection.max_size_bytes", {"selection": {"max_size_bytes": -1}}),
        ("labels", {"labels": {**LABELS, "k16": "v"}}),
        ("labels", {"labels": {"a key": "v"}}),
        ("labels", {"labels": {"Key": "v"}}),
        ("labels", {"labels": {"": "v"}}),
        ("labels", {"labels": {"k" * 64: "v"}}),
        ("labels", {"labels": {"k": "v" * 257}}),
        ("labels", {"labels": {"k": "\0"}}),
        ("not_before_time", {"not_before_time": _ahead(days=31)}),
        ("not_before_time", {"not_before_time": Timestamp(seconds=2**60)}),
        ("not_before_time", {"not_before_time": Timestamp(nanos=-1)}),
        ("retention", {"retention": Duration(seconds=DAY_S - 1)}),
        ("retention", {"retention": Duration(seconds=7_305 * DAY_S + 1)}),
        ("retention", {"retention": Duration(seconds=-1)}),
    ],
)
def test_a_wrong_choice_is_named_by_its_field(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _checked(**fields)

    assert [each.field for each in refused.value.violations] == [field]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        _checked(
            selection={"kinds": ["x" * (MOST_TEXT + 1)], "max_size_bytes": -1},
            labels={"a key": "v"},
            not_before_time=_ahead(days=31),
            retention=Duration(seconds=1),
        )

    assert [each.field for each in refused.value.violations] == [
        "selection.kinds",
        "selection.max_size_bytes",
        "labels",
        "not_before_time",
        "retention",
    ]


def test_the_limits_themselves_are_allowed() -> None:
    found = _checked(
        selection={"document_ids": [str(uuid4()) for _ in range(10_000)], "kinds": ["x"] * 100},
        labels={**dict(list(LABELS.items())[:15]), "a-z_0.9" + "k" * 56: "é" * 256},
        not_before_time=_ahead(days=29.99),
        retention=Duration(seconds=7_305 * DAY_S),
    )

    assert len(found.labels) == 16
    assert found.retention_s == 7_305 * DAY_S
    assert found.not_before_time is not None


def test_a_selection_without_a_condition_is_everything_and_a_look_is_nothing() -> None:
    given = str(uuid4())

    assert _checked(selection={}).wants == EVERYTHING
    assert _checked(list_only=True).wants == NOTHING
    assert _checked(list_only=True, selection={"kinds": ["x"]}).wants == NOTHING
    [chosen] = _checked(selection={"document_ids": [given.upper(), given]}).wants.selections or ()
    assert chosen == Selection(document_ids=(given,))


def test_a_request_id_goes_with_the_same_choices_only() -> None:
    def payload(**fields: Any) -> str:
        return _checked(**fields).payload_sha256

    choices: list[dict[str, Any]] = [
        {},
        {"list_only": True},
        {"selection": {"kinds": ["a"]}},
        {"labels": {"a": "b"}},
        {"not_before_time": Timestamp(seconds=1)},
        {"retention": Duration(seconds=DAY_S)},
    ]

    assert len({payload(**each) for each in choices}) == len(choices)
    assert payload(labels={"a": "1", "b": "2"}) == payload(labels={"b": "2", "a": "1"})


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("labels", {"labels": {"a key": "v"}}),
        ("create_time_from", {"create_time_from": Timestamp(seconds=2**60)}),
        (
            "create_time_to",
            {"create_time_from": Timestamp(seconds=2), "create_time_to": Timestamp(seconds=1)},
        ),
    ],
)
def test_a_wrong_filter_of_list_jobs_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_requests.list_jobs(pb.ListJobsRequest(**fields), client="default")

    assert [each.field for each in refused.value.violations] == [field]


def test_a_page_token_is_good_for_its_labels_only() -> None:
    marks = {
        page_requests.list_jobs(pb.ListJobsRequest(labels=labels), client="default").fingerprint
        for labels in ({}, {"a": "b"}, {"a": "c"})
    }

    assert len(marks) == 3
