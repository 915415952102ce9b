"""Selections: the documents of a case that a job wants. Pure: no I/O, no clock.

A job has a union of selections. A call that joins a running job can only add to it, so a job never
wants less than each of its callers requested.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Protocol, Self
from uuid import UUID

from storage.records import is_sealed

# At most this many ids that the listing does not have are kept and shown.
MOST_UNLISTED = 100


class Candidate(Protocol):
    """The values of a listed document that conditions test."""

    @property
    def kind(self) -> str:
        """Return the kind as the court gives it."""

    @property
    def instance(self) -> str:
        """Return the instance, such as G1."""

    @property
    def filed_local_time(self) -> str:
        """Return local time, ISO 8601, or any other text that the court gives."""

    @property
    def secrecy_level(self) -> str:
        """Return the level as the court gives it."""

    @property
    def listed_size_bytes(self) -> int | None:
        """Return the listed size."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions of which all must hold. A field with its default is no condition.

    `document_ids` are UUIDs in lower case with hyphens; dates are YYYY-MM-DD and inclusive.
    """

    document_ids: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    filed_from_date: str = ""
    filed_to_date: str = ""
    max_size_bytes: int = 0
    exclude_sealed: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the selection of its values, as `as_values` gives them."""
        fields: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items()
        }
        return cls(**fields)

    @property
    def as_values(self) -> dict[str, Any]:
        """Return the fields that are conditions, as values for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key in _FIELDS
            if (value := getattr(self, key))
        }

    @property
    def is_everything(self) -> bool:
        """Return whether no field is a condition."""
        return not any(getattr(self, key) for key in _FIELDS)


_FIELDS = tuple(field.name for field in fields(Selection))


class _Condition:
    """A selection prepared for many documents."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._ids = {UUID(text) for text in selection.document_ids}
        self._kinds = {folded(kind) for kind in selection.kinds}
        self._instances = set(selection.instances)

    def holds(self, document_id: UUID, document: Candidate, case_level: int | None) -> bool:
        """Return whether the selection has the document."""
        chosen = self._selection
        return (
            (not self._ids or document_id in self._ids)
            and (not self._kinds or folded(document.kind) in self._kinds)
            and (not self._instances or document.instance in self._instances)
            and self._is_filed_in_time(document.filed_local_time)
            and (
                not chosen.max_size_bytes
                or (document.listed_size_bytes or 0) <= chosen.max_size_bytes
            )
            and not (chosen.exclude_sealed and is_sealed(case_level, document.secrecy_level))
        )

    def _is_filed_in_time(self, filed_local_time: str) -> bool:
        filed = _date_of(filed_local_time)
        if not filed:
            return True
        since, until = self._selection.filed_from_date, self._selection.filed_to_date
        return since <= filed and (not until or filed <= until)


@dataclass(frozen=True, slots=True)
class Wants:
    """The documents that a job wants: those that any of `selections` has.

    None: every document. Empty: none, the job only lists.
    """

    selections: tuple[Selection, ...] | None = None

    @classmethod
    def of(cls, values: Sequence[Mapping[str, Any]] | None) -> Self:
        """Return the wants of a job's column `selections`."""
        return cls(None if values is None else tuple(Selection.of(each) for each in values))

    @property
    def as_values(self) -> list[dict[str, Any]] | None:
        """Return the value of the column `selections`."""
        return None if self.selections is None else [each.as_values for each in self.selections]

    def joined(self, other: Wants) -> Wants:
        """Return the wants that have every document of both."""
        if self.selections is None or other.selections is None:
            return EVERYTHING
        # A dictionary keeps the order of first entries.
        return Wants(tuple(dict.fromkeys((*self.selections, *other.selections))))

    def with_ids_at_most(self, most: int) -> Wants:
        """Return the same wants, with the first `most` ids of each selection."""
        if self.selections is None:
            return self
        return Wants(
            tuple(replace(each, document_ids=each.document_ids[:most]) for each in self.selections)
        )

    def covers(self, other: Wants) -> bool:
        """Return whether a join with `other` would change nothing."""
        return self.joined(other) == self

    def of_case(
        self, documents: Collection[tuple[UUID, Candidate]], case_level: int | None
    ) -> frozenset[UUID]:
        """Return the ids of the wanted ones of a case's documents."""
        if self.selections is None:
            return frozenset(document_id for document_id, _ in documents)
        conditions = [_Condition(each) for each in self.selections]
        return frozenset(
            document_id
            for document_id, document in documents
            if any(each.holds(document_id, document, case_level) for each in conditions)
        )

    def unlisted(self, document_ids: Collection[UUID]) -> list[UUID]:
        """Return the selected ids that are not among `document_ids`, at most MOST_UNLISTED."""
        listed = set(document_ids)
        selected = dict.fromkeys(UUID(text) for text in self._selected_ids())
        return [each for each in selected if each not in listed][:MOST_UNLISTED]

    def _selected_ids(self) -> Iterator[str]:
        for selection in self.selections or ():
            yield from selection.document_ids


EVERYTHING = Wants()
NOTHING = Wants(())


def folded(text: str) -> str:
    """Return the form in which kinds are compared: without case, accents and extra spaces."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(plain.casefold().split())


def _date_of(filed_local_time: str) -> str:
    """Return the date at the beginning of a time, YYYY-MM-DD; empty without one."""
    text = filed_local_time[:10]
    try:
        # Courts give other texts, too. Those are kept as they came, and have no date.
        return date.fromisoformat(text).isoformat() if len(text) == 10 else ""
    except ValueError:
        return ""
