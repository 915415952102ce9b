"""The most values of each repeated field of a request: more could not be useful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from storage.errors import FieldViolation, InvalidRequest

_PACKAGE = "autos.downloads.v1"
# By the full name of the field. Fields of an enum need no entry: each value is useful once.
MOST: Mapping[str, int] = {
    f"{_PACKAGE}.StartDownloadRequest.labels": 16,
    f"{_PACKAGE}.StartDownloadsRequest.requests": 1_000,
    f"{_PACKAGE}.ListJobsRequest.labels": 16,
    f"{_PACKAGE}.SubscribeCaseRequest.labels": 16,
    f"{_PACKAGE}.Selection.document_ids": 10_000,
    f"{_PACKAGE}.Selection.kinds": 100,
    f"{_PACKAGE}.Selection.instances": 100,
}
# Each value is a request that is checked, and refused, by itself.
_CHECKED_LATER = {f"{_PACKAGE}.StartDownloadsRequest.requests"}


def require_short(request: Message) -> None:
    """Raise InvalidRequest for the repeated fields of `request` that have too many values.

    Fields of messages inside it count, too. A violation has the path of its field.
    """
    if wrong := list(_too_long(request, "")):
        raise InvalidRequest(*wrong)


def _too_long(message: Message, path: str) -> Iterator[FieldViolation]:
    for field, value in message.ListFields():
        name = path + field.name
        if field.is_repeated:
            most = most_of(field)
            if len(value) > most:
                yield FieldViolation(name, f"must have at most {most} values.")
            elif _has_fields(field):
                for place, each in enumerate(value):
                    yield from _too_long(each, f"{name}[{place}].")
        elif field.message_type is not None:
            yield from _too_long(value, f"{name}.")


def _has_fields(field: FieldDescriptor) -> bool:
    return (
        field.message_type is not None
        and not is_map(field)
        and field.full_name not in _CHECKED_LATER
    )


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a repeated field is a map."""
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def most_of(field: FieldDescriptor) -> int:
    """Return the most values of a repeated field. Raises KeyError if no limit is known."""
    if field.enum_type is not None:
        return len(field.enum_type.values)
    return MOST[field.full_name]
