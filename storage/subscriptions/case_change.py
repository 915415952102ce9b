"""How a listing of a watched case differs from the one before. Pure: no I/O, no clock.

A listing is kept as its baseline: a digest of each document and of each movement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from storage.listings.listing_import import ImportItem, ListingImport

MOST_MOVEMENTS = 100
# Ids of each kind in an event, and in the selection of the job that fetches them: a gRPC client
# refuses messages above 4 MiB.
MOST_IDS = 30_000
# Hexadecimal digits. An equal digest of two texts of one document would hide its change.
_DIGITS = 16

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a listing had. `movements` is None if the data of the case is not known."""

    documents: Mapping[str, str]
    movements: frozenset[str] | None

    @classmethod
    def of(cls, listing: ListingImport, data: Json | None) -> Self:
        """Return the baseline of a listing. `data`: the data of the case, None if unknown."""
        return cls(
            {str(item.document_id): _document(item) for item in listing.items},
            None if data is None else frozenset(map(_digest, _movements(data))),
        )

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """Return the baseline of its values for JSON."""
        movements = values["movements"]
        return cls(values["documents"], None if movements is None else frozenset(movements))

    @property
    def as_values(self) -> Json:
        """Return the values for JSON."""
        movements = None if self.movements is None else sorted(self.movements)
        return {"documents": dict(self.documents), "movements": movements}

    def followed_by(self, later: Baseline) -> Baseline:
        """Return `later`, with the movements of this one if those of `later` are not known."""
        return Baseline(
            later.documents, self.movements if later.movements is None else later.movements
        )


@dataclass(frozen=True, slots=True)
class CaseChange:
    """The difference: ids of documents, and movements as the case's data has them, newest first."""

    new_document_ids: tuple[str, ...] = ()
    vanished_document_ids: tuple[str, ...] = ()
    changed_document_ids: tuple[str, ...] = ()
    new_movements: tuple[Json, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is different."""
        return any(asdict(self).values())

    @property
    def concerns_documents(self) -> bool:
        """Return whether anything but the movements is different."""
        return bool(
            self.new_document_ids or self.vanished_document_ids or self.changed_document_ids
        )

    @property
    def as_values(self) -> Json:
        """Return the values for JSON, with the names of the contract's message CaseChange.

        At most MOST_IDS of each list.
        """
        return {name: values[:MOST_IDS] for name, values in asdict(self).items()}


def change(before: Baseline, after: Baseline, data: Json | None, *, is_sealed: bool) -> CaseChange:
    """Return how the listing of `after` differs from that of `before`.

    `data`: the data of the case in the later listing. Of a sealed case, the movements have no
    description: the receiver of an event may be a third party.
    """
    return CaseChange(
        new_document_ids=_absent(after.documents, before.documents),
        vanished_document_ids=_absent(before.documents, after.documents),
        changed_document_ids=tuple(
            document_id
            for document_id, digest in after.documents.items()
            if before.documents.get(document_id, digest) != digest
        ),
        new_movements=_new_movements(before.movements, data or {}, is_sealed=is_sealed),
    )


def _absent(documents: Mapping[str, str], others: Collection[str]) -> tuple[str, ...]:
    return tuple(document_id for document_id in documents if document_id not in others)


def _new_movements(
    known: frozenset[str] | None, data: Json, *, is_sealed: bool
) -> tuple[Json, ...]:
    if known is None:
        return ()
    # Two instances may list the same movement.
    found = {digest: each for each in _movements(data) if (digest := _digest(each)) not in known}
    newest_first = sorted(found.values(), key=lambda each: str(each["local_time"]), reverse=True)
    hidden = {"description": ""} if is_sealed else {}
    return tuple({**each, **hidden} for each in newest_first[:MOST_MOVEMENTS])


def _movements(data: Json) -> list[Json]:
    return [each for proceeding in data.get("proceedings", ()) for each in proceeding["movements"]]


def _document(item: ImportItem) -> str:
    listed = item.listed
    return _digest([listed.name, listed.kind, listed.listed_size_bytes, listed.secrecy_level])


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
