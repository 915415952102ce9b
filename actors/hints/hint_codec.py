"""Hints as JSON, one text each. Unknown texts are dropped: hints only speed work up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from uuid import UUID

from actors.hints.hints import (
    Ended,
    Hint,
    JobEnded,
    JobWanted,
    PlaceAsked,
    ProposalRefused,
    SliceBegun,
    SlotFreed,
)
from storage.portal.outcomes import RefusedScope
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (JobWanted, JobEnded, SliceBegun, ProposalRefused, SlotFreed, Ended, PlaceAsked)
}
_JOB_FIELDS = tuple(field.name for field in fields(JobRow))
_ID_FIELDS = {"job_id", "token", "proposal_id"}
_ID_LIST_FIELDS = {"documents", "spooled", "returned", "job_ids"}


def encode(hint: Hint) -> str:
    """Return the text of a hint."""
    values = hint.job if isinstance(hint, JobWanted) else hint
    names = _JOB_FIELDS if isinstance(hint, JobWanted) else hint._fields
    given = {name: _plain(getattr(values, name)) for name in names}
    return json.dumps([type(hint).__name__, given], separators=(",", ":"))


def decode(text: str | bytes) -> Hint | None:
    """Decode a hint. Return None if the text is not a hint of this release."""
    try:
        kind, values = json.loads(text)
        if kind == JobWanted.__name__:
            return JobWanted(_job_row(values))
        parsed = {name: _parsed(name, value) for name, value in values.items()}
        return _make(kind, parsed)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _make(kind: str, values: dict[str, Any]) -> Hint:
    hint: Hint = _KINDS[kind](**values)
    return hint


def _job_row(values: dict[str, Any]) -> JobRow:
    return JobRow(
        **{
            **values,
            "job_id": UUID(values["job_id"]),
            "priority": Priority(values["priority"]),
            "slices": _ids(frozenset, values["slices"]),
            "spooled": _ids(frozenset, values["spooled"]),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, tuple | frozenset):
        return [each.hex for each in value]
    return value


def _parsed(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _ID_FIELDS:
        return UUID(value)
    if name in _ID_LIST_FIELDS:
        return _ids(tuple, value)
    return RefusedScope(value) if name == "scope" else value


def _ids(make: Callable[[Iterable[UUID]], Any], texts: Iterable[str]) -> Any:
    return make(UUID(text) for text in texts)
