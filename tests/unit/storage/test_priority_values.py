"""Test the priorities that a caller may request, and their weights."""

from __future__ import annotations

import hashlib
import json

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.starts import start_requests
from storage.clients.client_registry import CallingClient
from storage.errors import InvalidRequest
from storage.jobs.job_start import StartRequest
from storage.priorities import Priority
from storage.webhook_policy import WebhookPolicy

NUMBER = "1003579-22.2025.8.26.0564"


def _start(priority: int, number: str = NUMBER) -> StartRequest:
    return start_requests.start_request(
        pb.StartDownloadRequest(
            process_number=number,
            priority=priority,  # type: ignore[arg-type]
        ),
        client=CallingClient("default"),
        receivers=WebhookPolicy.from_entries(()),
        default_max_age_s=3_600,
    )


@pytest.mark.parametrize(
    ("requested", "given"),
    [
        (pb.PRIORITY_UNSPECIFIED, Priority.NORMAL),
        (pb.PRIORITY_NORMAL, Priority.NORMAL),
        (pb.PRIORITY_HIGH, Priority.HIGH),
        (pb.PRIORITY_BULK, Priority.BULK),
    ],
)
def test_every_priority_of_the_contract_may_be_requested(requested: int, given: Priority) -> None:
    assert _start(requested).priority is given


@pytest.mark.parametrize("unknown", [4, 99, -1])
def test_an_unknown_priority_is_refused_beside_what_else_is_wrong(unknown: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _start(unknown, number="x")

    assert [v.field for v in caught.value.violations] == ["process_number", "priority"]


def test_what_earlier_releases_remembered_of_a_request_stays_good() -> None:
    remembered = hashlib.sha256(json.dumps([NUMBER, None, None]).encode()).hexdigest()

    assert _start(pb.PRIORITY_UNSPECIFIED).payload_sha256 == remembered
    assert _start(pb.PRIORITY_NORMAL).payload_sha256 == remembered


def test_another_priority_is_another_request() -> None:
    payloads = {_start(value).payload_sha256 for value in pb.Priority.values()}

    assert len(payloads) == 3
