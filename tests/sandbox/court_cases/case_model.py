"""The sandbox's model of a case: plain values, made by `cases` and formatted by `case_json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from uuid import UUID, uuid5

from tests.sandbox.court_cases.document_bytes import MEDIA_TYPES

_NAMESPACE = UUID("6f0c1a52-8f4e-4b6e-9a55-2f0f3c1d7e10")
_NAMES = (
    "Petição Inicial",
    "Sentença",
    "Procuração - CPF 123.456.789-09",
    "Contestação/Réplica",
    "../../Comprovante de residência",
    "Decisão\x07 interlocutória\r\n",
    "Certidão de publicação",
    "Petição Inicial",
    "Laudo pericial \u202efdp",
    "Ata de audiência",
    "Embargos de declaração..",
    "Despacho",
)


@dataclass(frozen=True)
class SandboxDocument:
    """An entry of a list. `fault`: see `portal_faults.FILE_FAULTS` and `case_json.HREF_FAULTS`."""

    uuid: UUID
    position: int
    id_origem: str
    name: str
    kind: str = "pdf"
    size_bytes: int = 20_000
    fault: str | None = None
    latency_s: float = 0.0
    secrecy: str | None = "PUBLICO"
    has_arquivo: bool = True
    declared_type: str | None = None

    @property
    def media_type(self) -> str:
        return self.declared_type or MEDIA_TYPES[self.kind]


@dataclass(frozen=True)
class Branch:
    """One tramitação. `form` is the form of `documentos` in the JSON."""

    documents: tuple[SandboxDocument, ...] = ()
    grade: Literal["G1", "G2"] = "G1"
    form: Literal["list", "null", "absent"] = "list"


@dataclass(frozen=True)
class SandboxCase:
    """A case. `list_fault`: see `portal_faults.LIST_FAULTS`. `others` None: no `tramitacoes`.

    `incomplete_listings`: the numbers of listings, counted from 0, without the last document.
    """

    slug: str
    number: str
    title: str
    current: Branch
    others: tuple[Branch, ...] | None = ()
    secrecy: int = 0
    list_fault: str | None = None
    list_latency_s: float = 0.0
    form: Literal["array", "object", "unknown", "unknown-content"] = "array"
    incomplete_listings: range = range(0)
    # Beside those that every case has.
    movements: tuple[Mapping[str, Any], ...] = ()

    @property
    def documents(self) -> tuple[SandboxDocument, ...]:
        """Return every entry of every list, so duplicates and repetitions count twice."""
        branches = (self.current, *(self.others or ()))
        return tuple(document for branch in branches for document in branch.documents)

    @cached_property
    def by_uuid(self) -> dict[str, SandboxDocument]:
        return {str(document.uuid): document for document in self.documents}

    @property
    def distinct(self) -> dict[tuple[str, str], list[SandboxDocument]]:
        """Return the entries by the identity of their document: instance and idOrigem."""
        found: dict[tuple[str, str], list[SandboxDocument]] = {}
        for branch in (self.current, *(self.others or ())):
            for document in branch.documents:
                found.setdefault((branch.grade, document.id_origem), []).append(document)
        return found


def document(number: str, position: int, *, label: str = "", **fields: Any) -> SandboxDocument:
    """Return a document of the case, with a distinct UUID for each `label` and `position`."""
    defaults = {
        "id_origem": str(366_442_854 + position),
        "name": f"{_NAMES[position % len(_NAMES)]}.{fields.get('kind', 'pdf')}",
    }
    uuid = uuid5(_NAMESPACE, f"{number}/{label}/{position}")
    return SandboxDocument(uuid, position, **(defaults | fields))


def documents(number: str, positions: Iterable[int], **fields: Any) -> tuple[SandboxDocument, ...]:
    return tuple(document(number, position, **fields) for position in positions)
