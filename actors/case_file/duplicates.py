"""Merge listing entries that are one document, and keep entries apart that only look equal. Pure.

Two entries with the same idOrigem in the same instance are twins unless other values show that they
are two files. If two files were merged, one of them would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from storage.listings.listed_case import ListedDocument

_SECRECY_LEVELS = (
    "",
    "PUBLICO",
    "SEGREDO_JUSTICA",
    "SIGILO_MINIMO",
    "SIGILO_MEDIO",
    "SIGILO_INTENSO",
    "SIGILO_ABSOLUTO",
)
_MINUTE = len("2025-06-02T12:53")
_MAX_ALIKE = 100


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One document as one list of the answer describes it.

    `place`: the number of the list. `has_file_facts`: it has an `arquivo`, with size or type.
    `has_own_id`: the court gave it an idOrigem. `is_inherited`: its instance is only assumed.
    """

    document: ListedDocument
    place: int
    has_file_facts: bool
    has_own_id: bool
    is_inherited: bool


def joined(entries: Iterable[ListedEntry]) -> list[ListedDocument]:
    """Return the documents of a listing, each once, in the order of their first entries.

    If different files share an id, each gets an id from its link instead.
    """
    groups = _Groups()
    # Entries with their own id come first, because the others are found by their links.
    for place, entry in sorted(enumerate(entries), key=lambda e: not e[1].has_own_id):
        groups.add(place, entry)
    return _with_distinct_ids(groups.documents())


class _Groups:
    """Groups of entries that are one document, found by their ids and links."""

    def __init__(self) -> None:
        self._groups: list[list[ListedEntry]] = []
        self._places: list[int] = []
        self._by_mark: dict[str, list[int]] = {}

    def add(self, place: int, entry: ListedEntry) -> None:
        """Add an entry to its group, or to a new one."""
        number = self._number_of(entry)
        if number is None:
            number = len(self._groups)
            self._groups.append([])
            self._places.append(place)
        self._groups[number].append(entry)
        self._places[number] = min(self._places[number], place)
        for mark in _marks(entry):
            numbers = self._by_mark.setdefault(mark, [])
            # One more than `_candidates` accepts shows that the mark identifies nothing.
            if len(numbers) <= _MAX_ALIKE and number not in numbers:
                numbers.append(number)

    def documents(self) -> list[ListedDocument]:
        """Return one document for each group, in the order of their first entries."""
        order = sorted(range(len(self._groups)), key=self._places.__getitem__)
        return [_merged(self._groups[number]) for number in order]

    def _number_of(self, entry: ListedEntry) -> int | None:
        """Return the number of the entry's group; None if no group is certain.

        If several groups fit, the only one with the entry's link is chosen, else the only one with
        its filing time.
        """
        fitting = [n for n in self._candidates(entry) if self._fits(n, entry)]
        for is_surer in (_has_same_link, _has_same_time):
            surer = [
                n
                for n in fitting
                if any(is_surer(e.document, entry.document) for e in self._groups[n])
            ]
            if len(surer) == 1:
                return surer[0]
        # Without an id, only the link identifies an entry, and all of these groups have it.
        is_any = len(fitting) == 1 or not entry.has_own_id
        return min(fitting, default=None) if is_any else None

    def _candidates(self, entry: ListedEntry) -> set[int]:
        found = (self._by_mark.get(mark, []) for mark in _marks(entry))
        # An id or link that more groups share identifies nothing.
        return {number for numbers in found if len(numbers) <= _MAX_ALIKE for number in numbers}

    def _fits(self, number: int, entry: ListedEntry) -> bool:
        return all(_may_be_merged(each, entry) for each in self._groups[number])


def _marks(entry: ListedEntry) -> Iterator[str]:
    yield from entry.document.hrefs
    if entry.has_own_id:
        yield f"id:{entry.document.origin_id}"


def _may_be_merged(first: ListedEntry, second: ListedEntry) -> bool:
    one, other = first.document, second.document
    if not (first.has_own_id and second.has_own_id):
        return _has_same_link(one, other) and _may_share_instance(first, second)
    if one.origin_id != other.origin_id or not _may_share_instance(first, second):
        return False
    if _has_same_link(one, other):
        return True
    if _differ(one.listed_size_bytes, other.listed_size_bytes):
        return False
    if _differ(_essence(one), _essence(other)):
        return False
    if first.place == second.place:
        return _is_repeated(one, other)
    is_of_one_kind = bool(one.kind) and one.kind == other.kind
    is_named_alike = not _differ(one.name, other.name) or is_of_one_kind
    return is_named_alike and not _differ(_minute(one), _minute(other))


def _may_share_instance(first: ListedEntry, second: ListedEntry) -> bool:
    is_supposed = first.is_inherited or second.is_inherited
    is_same = first.document.instance == second.document.instance
    return is_same or (is_supposed and _has_same_link(first.document, second.document))


def _is_repeated(one: ListedDocument, other: ListedDocument) -> bool:
    """Return whether two entries have equal values, with a name and a filing time.

    One list then contains the same entry twice.
    """
    facts = [(d.name, d.kind, d.sequence, d.filed_local_time) for d in (one, other)]
    return facts[0] == facts[1] and bool(one.name and one.filed_local_time)


def _has_same_link(one: ListedDocument, other: ListedDocument) -> bool:
    return not {*one.hrefs}.isdisjoint(other.hrefs)


def _has_same_time(one: ListedDocument, other: ListedDocument) -> bool:
    return one.filed_local_time == other.filed_local_time


def _differ(one: object, other: object) -> bool:
    """Return whether both values are set and differ."""
    return bool(one and other) and one != other


def _essence(document: ListedDocument) -> str:
    return (document.listed_content_type or "").partition(";")[0]


def _minute(document: ListedDocument) -> str:
    return document.filed_local_time[:_MINUTE]


def _with_distinct_ids(documents: list[ListedDocument]) -> list[ListedDocument]:
    seen: dict[tuple[str, str], int] = {}
    for document in documents:
        key = (document.instance, document.origin_id)
        seen[key] = seen.get(key, 0) + 1
    return [
        replace(d, origin_id=_distinct_id(d, place)) if seen[d.instance, d.origin_id] > 1 else d
        for place, d in enumerate(documents)
    ]


def _distinct_id(document: ListedDocument, place: int) -> str:
    """Return an id that depends on the document's links, not on their order.

    Without links, it depends on the document's position.
    """
    return link_id(min(document.hrefs)) if document.hrefs else f"#{place}/{document.origin_id}"


def link_id(path: str) -> str:
    """Return the id of a document that has only a link."""
    # The prefix keeps it different from every idOrigem.
    return f"uuid:{path.split('/')[-2]}"


def _merged(group: list[ListedEntry]) -> ListedDocument:
    first, *others = group
    for other in others:
        first = _merged_pair(first, other)
    return first.document


def _merged_pair(first: ListedEntry, second: ListedEntry) -> ListedEntry:
    """Merge two twins. The values of the one with `arquivo` count; the other fills empty ones."""
    is_second_better = second.has_file_facts and not first.has_file_facts
    better, other = (second, first) if is_second_better else (first, second)
    kept, spare = better.document, other.document
    identified = first if first.has_own_id or not second.has_own_id else second
    hrefs = tuple(dict.fromkeys((*kept.hrefs, *spare.hrefs)))
    reasons = {kept.refused_reason, spare.refused_reason}
    sizes = (kept.listed_size_bytes, spare.listed_size_bytes)
    refused = "UNTRUSTED_LINK" if "UNTRUSTED_LINK" in reasons else "NO_LINK"
    document = replace(
        kept,
        instance=identified.document.instance,
        origin_id=identified.document.origin_id,
        name=kept.name or spare.name,
        kind=kept.kind or spare.kind,
        sequence=kept.sequence or spare.sequence,
        filed_local_time=kept.filed_local_time or spare.filed_local_time,
        secrecy_level=max(kept.secrecy_level, spare.secrecy_level, key=_secrecy),
        hrefs=hrefs,
        # If the twins have different sizes, neither is proven.
        listed_size_bytes=None if _differ(*sizes) else kept.listed_size_bytes or sizes[1],
        listed_content_type=kept.listed_content_type or spare.listed_content_type,
        refused_reason=None if hrefs else refused,
    )
    return replace(better, document=document, has_own_id=identified.has_own_id)


def _secrecy(level: str) -> int:
    """Return how secret a level is; an unknown name is the most secret."""
    is_known = level in _SECRECY_LEVELS
    return _SECRECY_LEVELS.index(level) if is_known else len(_SECRECY_LEVELS)
