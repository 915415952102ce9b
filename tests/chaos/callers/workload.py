"""Define the jobs of a run and their plans: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from tests.sandbox.portal import SandboxPortal

MOST_DOCUMENTS = 30
LARGE_BYTES = 9_500_000  # above one part, so it is uploaded in two
# Of the portal's answers; the longest comes near the lease of 5 s.
LATENCIES_S = (0.0, 0.05, 0.3, 1.0, 4.0)

# Faults of single documents, and their error reasons: none if the document is stored in the end.
DOCUMENT_FAULTS: Mapping[str, tuple[str, ...]] = {
    "502-once": (),
    "503-once": (),
    "504-once": (),
    "cut": (),
    "codex-500-then-good": (),
    "not-ready": (),
    "too-fast": (),
    "chunked": (),
    "file-404": ("NOT_FOUND",),
    "no-access-file": ("NO_ACCESS",),
    "codex-500": ("PORTAL_ERROR",),
    "cut-for-good": ("CORRUPT", "PORTAL_UNAVAILABLE"),
    "short-of-tamanho": ("CORRUPT",),
    "page-shell": ("NOT_A_DOCUMENT",),
    "foreign-href": ("UNTRUSTED_LINK",),
}
LIST_FAULTS: Mapping[str, str] = {
    "list-503-then-good": "",
    "too-fast": "",
    "no-access": "NO_ACCESS",
    "list-500": "PORTAL_ERROR",
}

Hook = Literal["", "good", "refusing", "closing", "hanging"]


@dataclass(frozen=True)
class JobPlan:
    """A job to be started `at_s` seconds after the start. Other times count from its start.

    `joins_s`: another call for the case, with a URL of its own. `repeats_s`: the same call again.
    `cancels_s`: CancelJob. After its end: `is_retried` by RetryJob, `is_told_again` by
    RedeliverWebhook, `is_run_again` by a StartDownload on the same case. `is_watched`: a
    WatchProgress follows it. 0: not at all.
    """

    index: int
    at_s: float
    documents: int
    size_bytes: int
    latency_s: float
    request_id: UUID
    webhook: Hook
    list_fault: str = ""
    faults: Mapping[int, str] = field(default_factory=dict)
    joins_s: float = 0.0
    repeats_s: float = 0.0
    cancels_s: float = 0.0
    is_retried: bool = False
    is_redelivered: bool = False
    is_run_again: bool = False
    is_watched: bool = False


def workload_of(seed: int, *, jobs: int, documents: float, over_s: float) -> list[JobPlan]:
    """Return `jobs` plans with `documents` documents on average, spread over `over_s` seconds."""
    chance = random.Random(f"jobs {seed}")
    starts = sorted(chance.uniform(0, over_s) for _ in range(jobs))
    return [_job(chance, index, at_s, documents) for index, at_s in enumerate(starts)]


def _job(chance: random.Random, index: int, at_s: float, average: float) -> JobPlan:
    is_large = chance.random() < 0.04
    documents = 2 if is_large else _count(chance, average)
    is_cancelled = chance.random() < 0.1
    after_end = chance.random() if not is_cancelled else 1.0
    hooks: tuple[Hook, ...] = ("", "good", "refusing", "closing", "hanging")
    [webhook] = chance.choices(hooks, (30, 50, 8, 8, 4))
    return JobPlan(
        index=index,
        at_s=round(at_s, 3),
        documents=documents,
        size_bytes=LARGE_BYTES if is_large else chance.choice((2_000, 20_000, 20_000, 200_000)),
        latency_s=chance.choices(LATENCIES_S, (15, 20, 30, 30, 5))[0],
        request_id=UUID(int=chance.getrandbits(128), version=4),
        webhook=webhook,
        list_fault=chance.choice(tuple(LIST_FAULTS)) if chance.random() < 0.06 else "",
        faults=_faults(chance, documents),
        joins_s=chance.uniform(0.01, 3) if chance.random() < 0.15 else 0,
        repeats_s=chance.uniform(0.01, 10) if chance.random() < 0.15 else 0,
        cancels_s=chance.uniform(0.01, 3) if is_cancelled else 0,
        is_retried=after_end < 0.2,
        is_run_again=0.2 <= after_end < 0.3,
        is_redelivered=0.3 <= after_end < 0.4 and webhook == "good",
        is_watched=chance.random() < 0.15,
    )


def _count(chance: random.Random, average: float) -> int:
    if average <= 1:
        return 1
    return min(MOST_DOCUMENTS, 1 + int(chance.expovariate(1 / (average - 0.5))))


def _faults(chance: random.Random, documents: int) -> dict[int, str]:
    """Return the faults: half of the cases have none, in the others a quarter of the documents."""
    if chance.random() < 0.5:
        return {}
    names = tuple(DOCUMENT_FAULTS)
    return {i: chance.choice(names) for i in range(documents) if chance.random() < 0.25}


def make_cases(portal: SandboxPortal, plans: Sequence[JobPlan]) -> list[str]:
    """Add the cases of the plans to the portal in order, and return their numbers."""
    return [
        portal.add_case(
            documents=plan.documents,
            size=plan.size_bytes,
            latency_s=plan.latency_s,
            faults=plan.faults,
            list_fault=plan.list_fault or None,
        )
        for plan in plans
    ]
