"""The most values of each repeated field of a request: more could not be useful."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from storage.errors import FieldViolation, InvalidRequest

# By the full name of the field. Fields of an enum need no entry: each value is useful once.
MOST: Mapping[str, int] = {}


def require_short(request: Message) -> None:
    """Raise InvalidRequest for the repeated fields of `request` that have too many values."""
    wrong = [
        FieldViolation(name, f"must have at most {most} values.")
        for name, most in _repeated(request.DESCRIPTOR)
        if len(getattr(request, name)) > most
    ]
    if wrong:
        raise InvalidRequest(*wrong)


@cache
def _repeated(message: Descriptor) -> tuple[tuple[str, int], ...]:
    return tuple((field.name, most_of(field)) for field in message.fields if field.is_repeated)


def most_of(field: FieldDescriptor) -> int:
    """Return the most values of a repeated field. Raises KeyError if no limit is known."""
    if field.enum_type is not None:
        return len(field.enum_type.values)
    return MOST[field.full_name]
