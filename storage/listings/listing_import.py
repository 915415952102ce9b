"""The import of a listing: the documents that the portal lists become rows of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from uuid import UUID

from storage.errors import Failure
from storage.event_counters import REUSED
from storage.listings.case_answer import RecordedAnswer
from storage.listings.listed_case import CaseListing, ListedDocument, document_id
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.postgres.database import Row
from storage.selections.selection import EVERYTHING, Wants
from storage.states import DocumentState

# The columns of a row that hold the listed values.
_LISTED = tuple(f.name for f in fields(ListedDocument) if f.name != "refused_reason")
REFUSALS = {
    "UNTRUSTED_LINK": "The portal lists this document under a link that is not its own.",
    "NO_LINK": "The portal lists this document without a link to its file.",
}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that the bucket already holds for a document.

    `doubted_sha256`: its SHA-256, if only a repeated answer confirmed the content when it was
    stored.
    """

    object_key: str
    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    doubted_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ImportItem:
    """One document of a listing, with the object that can be reused, if there is one."""

    document_id: UUID
    listed: ListedDocument
    stored: StoredObject | None = None

    def refusal(self, limits: SizeLimits) -> Failure | None:
        """Return why this document is never requested, None if it may be."""
        if self.listed.hrefs:
            return limits.refusal(self.listed.listed_size_bytes)
        reason = self.listed.refused_reason or "NO_LINK"
        return Failure(reason, REFUSALS[reason], False)


@dataclass(frozen=True, slots=True)
class ListingImport:
    """A case as the portal listed it at `listed_time` (None: now).

    `doubt_time`: when an earlier answer was doubted, so that the portal was requested again.
    `answer`: the portal's answer; None if the listing was copied.
    """

    secrecy_level: int | None
    items: tuple[ImportItem, ...]
    listed_time: datetime | None = None
    doubt_time: datetime | None = None
    answer: RecordedAnswer | None = None

    @classmethod
    def of(cls, client: str, process_number: str, listing: CaseListing) -> ListingImport:
        """Return the import of a listing that reuses no object."""
        return cls(
            listing.secrecy_level,
            tuple(
                ImportItem(document_id(client, process_number, d.instance, d.origin_id), d)
                for d in listing.documents
            ),
            answer=RecordedAnswer.of(listing),
        )

    def with_reused_objects(self, stored: dict[UUID, StoredObject]) -> ListingImport:
        """Return the import with the objects that are already stored."""
        return replace(
            self, items=tuple(replace(e, stored=stored.get(e.document_id)) for e in self.items)
        )

    def wanted_ids(self, wants: Wants) -> frozenset[UUID]:
        """Return the ids of the documents that `wants` has."""
        facts = [(item.document_id, item.listed) for item in self.items]
        return wants.of_case(facts, self.secrecy_level)

    def is_all_stored(self, wants: Wants = EVERYTHING) -> bool:
        """Return whether every wanted document is already stored."""
        wanted = self.wanted_ids(wants)
        return all(item.stored for item in self.items if item.document_id in wanted)


@dataclass(frozen=True, slots=True)
class ImportRows:
    """The document rows of a listing."""

    rows: Sequence[Row]
    listing: ListingImport
    wants: Wants = EVERYTHING

    @classmethod
    def of(
        cls,
        listing: ListingImport,
        limits: SizeLimits = UNLIMITED,
        wants: Wants = EVERYTHING,
    ) -> ImportRows:
        """Return the rows of a listing for a job that wants `wants`; all others are SKIPPED.

        Wanted documents that `limits` refuse are FAILED at once.
        """
        wanted = listing.wanted_ids(wants)
        rows = [
            _row(position, item, limits, is_wanted=item.document_id in wanted)
            for position, item in enumerate(listing.items)
        ]
        return cls(rows, listing, wants)

    @property
    def to_fetch(self) -> int:
        """Return how many documents are to be fetched."""
        return sum(row["state"] == DocumentState.PENDING for row in self.rows)

    @property
    def as_values(self) -> Row:
        """Return the argument `_listing` of sql/listings/import_listing.sql, as values for JSON."""
        listing = self.listing
        return {
            "documents": self.rows,
            "secrecy_level": listing.secrecy_level,
            "listed_time": _text(listing.listed_time),
            "doubt_time": _text(listing.doubt_time),
            "selections": self.wants.as_values,
            "unlisted_document_ids": [
                str(each)
                for each in self.wants.unlisted([item.document_id for item in listing.items])
            ],
        }

    @property
    def as_json(self) -> str:
        """Return the argument `_listing` as JSON text."""
        return json.dumps(self.as_values)

    def ended(self) -> Iterator[tuple[str, str]]:
        """Yield the state and the cause of each document that has ended."""
        for row in self.rows:
            if row["state"] == DocumentState.AVAILABLE:
                yield DocumentState.AVAILABLE, REUSED
            elif row["state"] == DocumentState.FAILED:
                yield DocumentState.FAILED, row["reason"]


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _row(position: int, item: ImportItem, limits: SizeLimits, *, is_wanted: bool) -> Row:
    # What an earlier job stored of a document that is not wanted stays with that job.
    listed, stored = item.listed, item.stored if is_wanted else None
    if stored and stored.size_bytes == listed.listed_size_bytes:
        # The listing gives the document's size now, so its content is confirmed.
        stored = replace(stored, doubted_sha256=None)
    refusal = None if stored else item.refusal(limits)
    state = DocumentState.PENDING
    if not is_wanted:
        state = DocumentState.SKIPPED
        # Kept for a later copy of the listing, which reads why a link is refused from here.
        refusal = None if item.listed.hrefs else refusal
    elif stored:
        state = DocumentState.AVAILABLE
    elif refusal:
        state = DocumentState.FAILED
    return {
        **{name: getattr(listed, name) for name in _LISTED},
        "document_id": str(item.document_id),
        "position": position,
        "state": state,
        "is_reused": stored is not None,
        **(asdict(stored) if stored else {}),
        **(asdict(refusal) if refusal else {}),
    }


def items_of(client: str, process_number: str, rows: Sequence[Row]) -> tuple[ImportItem, ...]:
    """Return the items for `client` from the document rows of an earlier job, in the same order."""
    return tuple(
        ImportItem(
            document_id(client, process_number, row["instance"], row["origin_id"]), _listed(row)
        )
        for row in rows
    )


def _listed(row: Row) -> ListedDocument:
    values = {name: row[name] for name in _LISTED} | {"hrefs": tuple(row["hrefs"])}
    return ListedDocument(**values, refused_reason=None if row["hrefs"] else row["error_reason"])
