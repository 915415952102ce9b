"""The hints from servers, workers and uploaders to the scheduler, each sent after a commit.

A hint only speeds the scheduler up. Its facts are also in the rows, and the next reading finds them
there. So a hint may be lost, doubled, late or out of order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import datetime
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

from storage.portal.outcomes import RefusedScope
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow

# An older proposal is dropped; a worker acknowledges its message without processing it.
PROPOSAL_AGE_S = 1.0


class JobWanted(NamedTuple):
    """A run began, was listed, or changed its priority. `job`: its row as the sender committed it.

    When a case is listed, or its listing has failed, one is sent for every job that waited for it.
    """

    job: JobRow


class JobEnded(NamedTuple):
    """The run of a job has ended or was cancelled."""

    job_id: UUID


class SliceBegun(NamedTuple):
    """A claim answered a proposal with a slice. `proposal_id` is None without a proposal.

    Attributes:
        token: of the slice.
        documents: ids of its documents; none for a listing.
        has_more: the job has more documents that may begin at once.
        next_not_before: the earliest `not_before` of the job that is still in the future.
        next_request_at: the first time that no claim has reserved; None without a rate.
    """

    proposal_id: UUID | None
    job_id: UUID
    token: UUID
    documents: tuple[UUID, ...] = ()
    has_more: bool = True
    next_not_before: float | None = None
    next_request_at: float | None = None


class ProposalRefused(NamedTuple):
    """A claim answered a proposal with a refusal.

    Attributes:
        until: no request of this scope may begin before. None: the rows were locked or all slots
            taken, so the time is unknown.
        is_empty: the job has nothing that may begin at once; `until` is then its earliest
            `not_before`, or None.
    """

    proposal_id: UUID | None
    job_id: UUID
    scope: RefusedScope
    until: float | None = None
    is_empty: bool = False


class SlotFreed(NamedTuple):
    """The last answer of a slice has arrived and its slot is free. `used_s`: slot-seconds."""

    token: UUID
    used_s: float


class Ended(NamedTuple):
    """All documents of a slice are recorded (`used_s` as in SlotFreed), or a spooled one is stored.

    Attributes:
        token: of the slice; for a document that was in the spool, its id.
        used_s: slot-seconds; None if unknown or reported before.
        spooled: documents that are in the spool from now on.
        returned: documents that are PENDING again and may begin at once.
        next_not_before: the earliest `not_before` of those that are PENDING again and must wait.
    """

    job_id: UUID
    token: UUID
    used_s: float | None = None
    spooled: tuple[UUID, ...] = ()
    returned: tuple[UUID, ...] = ()
    next_not_before: float | None = None


class PlaceAsked(NamedTuple):
    """A caller requested the queue positions of running jobs: publish them."""

    job_ids: tuple[UUID, ...]


Hint = JobWanted | JobEnded | SliceBegun | ProposalRefused | SlotFreed | Ended | PlaceAsked
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Hint)}
_JOB_FIELDS = tuple(field.name for field in fields(JobRow))
# No number of a hint is negative or larger. The largest are seconds since 1970.
MOST = 1e12
_NUMBERS = frozenset({int, float})


def _types(kind: Any) -> frozenset[type]:
    """Return the types of the values that a field of type `kind` takes."""
    if isinstance(kind, UnionType):
        return frozenset[type]().union(*map(_types, get_args(kind)))
    return _NUMBERS if kind is float else frozenset({get_origin(kind) or kind})


_TYPES = {
    kind: tuple((name, _types(each)) for name, each in get_type_hints(kind).items())
    for kind in (*_KINDS.values(), JobRow)
}
_ID_FIELDS = {"job_id", "token", "proposal_id"}
_ID_LIST_FIELDS = {"documents", "spooled", "returned", "job_ids"}


def seconds_of(time: datetime | None) -> float | None:
    """Return a time as hints have it: seconds since 1970."""
    return None if time is None else time.timestamp()


def encode(hint: Hint) -> str:
    """Return a hint as JSON, one text. Unknown texts are dropped: hints only speed work up."""
    values = hint.job if isinstance(hint, JobWanted) else hint
    names = _JOB_FIELDS if isinstance(hint, JobWanted) else hint._fields
    given = {name: _plain(getattr(values, name)) for name in names}
    return json.dumps([type(hint).__name__, given], separators=(",", ":"))


def decode(text: str | bytes) -> Hint | None:
    """Decode a hint. Return None if the text is not a hint of this release."""
    try:
        kind, values = json.loads(text)
        if kind == JobWanted.__name__:
            job = _job_row(values)
            return JobWanted(job) if _fits(job) else None
        parsed = {name: _parsed(name, value) for name, value in values.items()}
        hint: Hint = _KINDS[kind](**parsed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return hint if _fits(hint) else None


def _fits(values: Hint | JobRow) -> bool:
    """Return whether each field has a value of its type. Another one would end the scheduler."""
    return all(_is_one(getattr(values, name), types) for name, types in _TYPES[type(values)])


def _is_one(value: Any, types: frozenset[type]) -> bool:
    kind = type(value)
    # Of NaN, nothing is true.
    return kind in types and (kind not in _NUMBERS or 0 <= value <= MOST)


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
