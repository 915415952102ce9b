"""Test that each repeated field of a request has a limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.requests import is_map, most_of, require_short
from storage.errors import InvalidRequest

SERVICE = pb.DESCRIPTOR.services_by_name["DownloadService"]


def _repeated(message: Descriptor, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    for field in message.fields:
        if field.is_repeated:
            yield path + field.name, field
        if not is_map(field) and field.message_type is not None:
            yield from _repeated(field.message_type, f"{path}{field.name}.")


REPEATED = {
    f"{method.name}.{path}": field
    for method in SERVICE.methods
    for path, field in _repeated(method.input_type)
}


@pytest.mark.parametrize("name", REPEATED)
def test_each_repeated_field_of_a_request_has_a_limit(name: str) -> None:
    assert 0 < most_of(REPEATED[name]) <= 10_000


def test_each_wrong_field_is_named() -> None:
    most = len(pb.JobState.items())
    require_short(pb.ListJobsRequest(states=[pb.JOB_STATE_PENDING] * most))

    with pytest.raises(InvalidRequest) as caught:
        require_short(pb.ListJobsRequest(states=[pb.JOB_STATE_PENDING] * (most + 1)))

    [violation] = caught.value.violations
    assert violation.field == "states"


def test_fields_of_inner_messages_are_named_by_their_path() -> None:
    request = pb.StartDownloadRequest(labels={f"k{n}": "v" for n in range(17)})
    request.selection.kinds.extend(["Sentença"] * 101)

    with pytest.raises(InvalidRequest) as caught:
        require_short(request)

    assert [each.field for each in caught.value.violations] == ["selection.kinds", "labels"]
