"""The cases of every sandbox portal, by slug."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.sandbox.court_cases.case_model import (
    Branch,
    SandboxCase,
    SandboxDocument,
    document,
    documents,
)
from tests.sandbox.court_cases.cnj import number_of
from tests.sandbox.court_cases.titles import FILE_FAULT_TITLES, LIST_FAULT_TITLES

_ALL_GOOD = "1011745-77.2025.8.11.0041"
_MOSTLY_500 = "1003579-22.2025.8.26.0564"
MIX = ("pdf", "pdf", "html", "pdf", "rtf", "pdf", "jpeg", "html", "png", "zip")
_SECRECY = (
    "PUBLICO",
    "SEGREDO_JUSTICA",
    "SIGILO_MINIMO",
    "SIGILO_MEDIO",
    "SIGILO_INTENSO",
    "SIGILO_ABSOLUTO",
    "NIVEL_DESCONHECIDO",
    None,
)


def _plain(slug: str, title: str, each: tuple[SandboxDocument, ...], **fields: Any) -> SandboxCase:
    """Return a case with its documents in tramitacaoAtual; the only other tramitação has none."""
    fields = {"others": (Branch(form="absent"),)} | fields
    return SandboxCase(slug, number_of(slug), title, Branch(each), **fields)


def _some(slug: str, count: int, **fields: Any) -> tuple[SandboxDocument, ...]:
    return documents(number_of(slug), range(count), **fields)


def _with_faults(slug: str, title: str, *faults: str) -> SandboxCase:
    number = number_of(slug)
    # A document with exactly its listed size is complete, whatever its content looks like.
    faulty = [
        document(number, 1 + i, fault=fault, has_arquivo=fault != "no-eof")
        for i, fault in enumerate(faults)
    ]
    return _plain(slug, title, (document(number, 0), *faulty))


def _all_good() -> SandboxCase:
    each = tuple(
        document(_ALL_GOOD, i, kind=MIX[i % len(MIX)], size_bytes=20_000 + i * 47_119 % 180_000)
        for i in range(31)
    )
    return replace(_plain("all-good", "31 documents, all good", each), number=_ALL_GOOD)


def _mostly_500() -> SandboxCase:
    """Return a case where documents without `arquivo` mostly fail, and others may fail too."""
    each = []
    for i in range(43):
        is_good = i % 5 == 2 and i < 40
        has_arquivo = i != 7 if is_good else i in (4, 20, 41)
        fault = None if is_good else "codex-500"
        each.append(document(_MOSTLY_500, i, fault=fault, has_arquivo=has_arquivo))
    case = _plain("mostly-500", "43 documents, 35 answer 500 for good", tuple(each))
    return replace(case, number=_MOSTLY_500)


def _two_instances() -> SandboxCase:
    """Return a case of two lists that share seven values of idOrigem, unique per instance only."""
    slug = "two-instances"
    second, first = _some(slug, 7, label="G2"), _some(slug, 15, label="G1")
    title = "7 documents in the second instance, 15 others in the first"
    return SandboxCase(slug, number_of(slug), title, Branch(second, "G2"), (Branch(first, "G1"),))


def _twins() -> SandboxCase:
    """Return pairs of entries: one has `arquivo`, one works; in some pairs they are different."""
    left: list[SandboxDocument] = []
    right: list[SandboxDocument] = []
    for i in range(12):
        for side, is_left in ((left, True), (right, False)):
            has_arquivo = is_left == (i % 2 == 0)
            works = has_arquivo == (i % 3 != 0)
            fault = None if works else "codex-500"
            label = "left" if is_left else "right"
            side.append(
                document(number_of("twins"), i, label=label, fault=fault, has_arquivo=has_arquivo)
            )
    title = "12 documents, each listed twice under two UUIDs of which one works"
    others = (Branch(tuple(right)),)
    return SandboxCase("twins", number_of("twins"), title, Branch(tuple(left)), others)


def _formats() -> SandboxCase:
    number = number_of("formats")
    each = [
        document(number, i, kind=k)
        for i, k in enumerate(("rtf", "html", "png", "jpeg", "zip", "text"))
    ]
    each[0] = replace(each[0], name="Despacho.pdf")
    pdf = "application/pdf"
    each.append(document(number, 6, kind="rtf", name="Sentença.pdf", declared_type=pdf))
    return _plain("formats", "RTF named .pdf (twice), HTML, PNG, JPEG, zip, text", tuple(each))


def _slow() -> SandboxCase:
    """Return log-normal latencies around 1.5 s, the same in every run."""
    dice = random.Random("slow")
    each = tuple(
        replace(one, latency_s=round(1.5 * math.exp(dice.gauss(0, 0.35)), 3))
        for one in _some("slow", 12)
    )
    return _plain("slow", "12 documents, about 1.5 s each", each)


def _shapes() -> Iterator[SandboxCase]:
    null = Branch(form="null")
    sealed = tuple(
        document(number_of("sealed"), i, secrecy=level) for i, level in enumerate(_SECRECY)
    )
    same = Branch(_some("same-twice", 6))
    yield _plain("one-pdf", "a single PDF", _some("one-pdf", 1))
    yield _plain(
        "same-twice", "6 documents, the same in both lists", same.documents, others=(same,)
    )
    yield _plain("sealed", "one document of each level of secrecy", sealed)
    yield _plain(
        "sealed-case", "a sealed case with 3 documents", _some("sealed-case", 3), secrecy=1
    )
    yield _plain("empty", "no documents: []", (), others=(Branch(),))
    yield SandboxCase(
        "null-list", number_of("null-list"), "no documents: null in both lists", null, (null,)
    )
    yield SandboxCase(
        "null-alone", number_of("null-alone"), "no documents: null, no tramitacoes", null, None
    )
    each = _some("no-tramitacoes", 4)
    yield _plain("no-tramitacoes", "4 documents, no tramitacoes", each, others=None)
    each = _some("bare-object", 2)
    yield _plain("bare-object", "2 documents, not in an array", each, form="object")
    yield _plain("unknown", "no such case: []", (), form="unknown")
    yield _plain("unknown-content", 'no such case: {"content": []}', (), form="unknown-content")


def _sizes() -> Iterator[SandboxCase]:
    each = _some("four-hundred", 400, size_bytes=4_000)
    yield _plain("four-hundred", "400 small documents", each)
    yield _plain("large", "one PDF of 200 MB", _some("large", 1, size_bytes=200_000_000))
    yield _plain("large-300", "one PDF of 300 MB", _some("large-300", 1, size_bytes=300_000_000))


def _faulty() -> Iterator[SandboxCase]:
    for slug, title in FILE_FAULT_TITLES.items():
        yield _with_faults(slug, title, slug)
    yield _with_faults(
        "bursts", "three files: 502, 503, 504 once each", "502-once", "503-once", "504-once"
    )
    for slug, title in LIST_FAULT_TITLES.items():
        yield _plain(slug, title, _some(slug, 2), list_fault=slug)
    yield _plain("list-slow", "listing: after 2 s", _some("list-slow", 2), list_latency_s=2.0)
    each = _some("vanishing", 5)
    title = "listing: 5 documents first, then 4"
    yield _plain("vanishing", title, each, incomplete_listings=range(1, sys.maxsize))
    each = _some("flickering", 5)
    title = "listing: 5 documents, then 4 once, then 5 again"
    yield _plain("flickering", title, each, incomplete_listings=range(1, 2))


CASES: dict[str, SandboxCase] = {
    case.slug: case
    for case in itertools.chain(
        (_all_good(), _mostly_500(), _two_instances(), _twins(), _formats(), _slow()),
        _shapes(),
        _sizes(),
        _faulty(),
    )
}
