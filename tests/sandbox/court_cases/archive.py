"""The cases of one portal, and counters of the requests on which the answers depend."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.sandbox import replies
from tests.sandbox.court_cases.case_json import HREF_FAULTS, listing
from tests.sandbox.court_cases.case_model import Branch, SandboxCase, SandboxDocument, document
from tests.sandbox.court_cases.cases import CASES, MIX
from tests.sandbox.court_cases.cnj import digits, process_number
from tests.sandbox.court_cases.document_bytes import MINIMUM_BYTES
from tests.sandbox.court_cases.portal_faults import FILE_FAULTS, LIST_FAULTS, PortalFault, good
from tests.sandbox.replies import Reply, as_json
from tests.sandbox.routes import Route


class Archive:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cases = {digits(case.number): case for case in CASES.values()}
        self._request_counts: Counter[str] = Counter()
        self._sequence = itertools.count(1)

    def add_case(
        self,
        *,
        documents: int,
        number: str | None = None,
        size: int = 20_000,
        latency_s: float = 0.0,
        faults: Mapping[int, str] | None = None,
        list_fault: str | None = None,
        kind: str = "pdf",
        has_arquivo: bool = True,
        secrecy: int = 0,
        movements: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Add a case of `documents` of `size` bytes each; return its number, new unless given.

        `kind` "mix": all kinds, with sizes between half of `size` and one and a half times `size`.
        """
        faults = faults or {}
        unknown = set(faults.values()) - FILE_FAULTS.keys() - set(HREF_FAULTS)
        if unknown or (list_fault is not None and list_fault not in LIST_FAULTS):
            raise ValueError(f"unknown fault: {unknown or list_fault}")
        if size < MINIMUM_BYTES:
            raise ValueError(f"a document has at least {MINIMUM_BYTES} bytes")
        number = number or process_number(next(self._sequence), year=2025)
        each = []
        for i in range(documents):
            fields: dict[str, Any] = {
                "kind": kind,
                "size_bytes": size,
                "has_arquivo": has_arquivo,
            }
            if kind == "mix":
                varied = size // 2 + i * 47_119 % size
                fields |= {"kind": MIX[i % len(MIX)], "size_bytes": max(varied, MINIMUM_BYTES)}
            each.append(document(number, i, fault=faults.get(i), latency_s=latency_s, **fields))
        case = SandboxCase(
            "ad-hoc",
            number,
            "made by a test",
            Branch(tuple(each)),
            list_fault=list_fault,
            secrecy=secrecy,
            movements=tuple(movements),
        )
        with self._lock:
            self._cases[digits(number)] = case
        return number

    def case(self, number: str) -> SandboxCase | None:
        with self._lock:
            return self._cases.get(digits(number))

    def reset(self) -> None:
        """Restart the counters of faults that happen N times before a good answer."""
        with self._lock:
            self._request_counts.clear()

    def answer(self, route: Route, foreign_origin: str) -> tuple[Reply, float]:
        """Return the answer to an admitted request below /api/v2, and its delay in seconds."""
        if route.number is None:
            return replies.WRONG_ROUTE, 0.0
        case = self.case(route.number)
        if route.kind == "list":
            return self._listing(case, foreign_origin), case.list_latency_s if case else 0.0
        wanted = case.by_uuid.get(route.uuid or "") if case else None
        if wanted is None:
            return replies.NOT_FOUND, 0.0
        if route.kind == "text":
            text = f"Documento {route.uuid}\n".encode()
            return replies.whole(200, text, "text/plain;charset=utf-8"), 0.0
        return self._file(wanted, foreign_origin), wanted.latency_s

    def _listing(self, case: SandboxCase | None, foreign_origin: str) -> Reply:
        if case is None:
            return as_json(200, [])
        earlier = self._count(digits(case.number))
        fault = LIST_FAULTS.get(case.list_fault or "")
        if fault and _acts(fault, earlier):
            return fault.answer(document(case.number, 0), foreign_origin)
        return as_json(200, listing(case, foreign_origin=foreign_origin, earlier=earlier))

    def _file(self, wanted: SandboxDocument, foreign_origin: str) -> Reply:
        earlier = self._count(str(wanted.uuid))
        fault = FILE_FAULTS.get(wanted.fault or "")
        if fault and _acts(fault, earlier):
            return fault.answer(wanted, foreign_origin)
        return good(wanted)

    def _count(self, what: str) -> int:
        """Return how often `what` was requested before."""
        with self._lock:
            self._request_counts[what] += 1
            return self._request_counts[what] - 1


def _acts(fault: PortalFault, earlier: int) -> bool:
    return fault.times is None or earlier < fault.times
