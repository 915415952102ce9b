"""Check that AVAILABLE documents have the right bytes in the bucket, and FAILED ones a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.callers.workload import DOCUMENT_FAULTS, LIST_FAULTS
from tests.chaos.checks.snapshot import Snapshot
from tests.chaos.faults.fault_plan import PlannedFault
from tests.chaos.faults.fault_windows import Windows
from tests.sandbox.court_cases.case_model import SandboxDocument
from tests.sandbox.portal import SandboxPortal
from tests.system.bucket import sandbox_sha256

OVER = (
    pb.DOCUMENT_STATE_AVAILABLE,
    pb.DOCUMENT_STATE_FAILED,
    pb.DOCUMENT_STATE_CANCELLED,
)
# Error reasons allowed for a document that the portal has, while the connection to it is broken.
PORTAL_AWAY = ("PORTAL_UNAVAILABLE", "CORRUPT")
RECOVERABLE = {"codex-500-then-good": ("PORTAL_ERROR",), "not-ready": ("NOT_A_DOCUMENT",)}
LOST_LEASES = 5


def check(
    portal: SandboxPortal, seen: Snapshot, windows: Windows, watched: Collection[str] = ()
) -> Iterator[str]:
    """Return a line for each problem with documents. `watched`: cases that have grown."""
    for job in seen.jobs.values():
        case = portal.case(job.process_number)
        assert case
        documents = seen.documents[job.job_id]
        name = f"job {job.job_id} ({job.process_number})"
        if not job.progress.HasField("total_documents"):
            yield from (f"{name} {problem}" for problem in _unlisted(job, case.list_fault, windows))
            continue
        is_growing = job.process_number in watched and len(documents) < len(case.documents)
        if len(documents) != len(case.documents) and not is_growing:
            yield f"{name} has {len(documents)} of {len(case.documents)} documents"
            continue
        for source, document in zip(case.documents, documents, strict=not is_growing):
            if document.state == pb.DOCUMENT_STATE_SKIPPED and job.process_number in watched:
                continue
            for problem in _document(source, document, seen, windows.during(job)):
                yield f"{name}, document {document.document_id}: {problem}"


def check_bucket(seen: Snapshot) -> Iterator[str]:
    """Return a line for each object that no row names."""
    named = {d.object_key for documents in seen.documents.values() for d in documents}
    yield from (f"object {key} is named by no row" for key in seen.objects.keys() - named)


def _unlisted(job: pb.Job, fault: str | None, windows: Windows) -> Iterator[str]:
    if job.state == pb.JOB_STATE_CANCELLED:
        return
    struck = windows.during(job)
    expected = {LIST_FAULTS.get(fault or "", "")}
    if any(each.kind.startswith("portal") for each in struck):
        expected |= set(PORTAL_AWAY)
    if len(struck) >= LOST_LEASES:
        expected.add("WORKER_LOST")
    if job.error.reason not in expected:
        yield f"could not be listed: {job.error.reason} instead of {sorted(expected)}"


def _document(
    source: SandboxDocument, document: pb.Document, seen: Snapshot, struck: list[PlannedFault]
) -> Iterator[str]:
    if document.state == pb.DOCUMENT_STATE_AVAILABLE:
        yield from _available(source, document, seen)
    elif document.state == pb.DOCUMENT_STATE_FAILED:
        yield from _failed(source, document, struck)
    elif document.state not in OVER:
        yield f"is {pb.DocumentState.Name(document.state)}"


def _available(source: SandboxDocument, document: pb.Document, seen: Snapshot) -> Iterator[str]:
    if DOCUMENT_FAULTS.get(source.fault or ""):
        yield f"is AVAILABLE although the portal has only {source.fault}"
    if document.size_bytes != source.size_bytes:
        yield f"has {document.size_bytes} bytes, the portal has {source.size_bytes}"
    if document.sha256 != sandbox_sha256(source):
        yield "has another hash than the portal's bytes"
    stored = seen.objects.get(document.object_key)
    if stored != document.sha256:
        yield f"is AVAILABLE, and its object is {'missing' if stored is None else 'another'}"


def _failed(
    source: SandboxDocument, document: pb.Document, struck: list[PlannedFault]
) -> Iterator[str]:
    reason = document.error.reason
    expected = set(DOCUMENT_FAULTS.get(source.fault or "", ()))
    if any(fault.kind.startswith("portal") for fault in struck):
        # The reason comes from the last of several attempts: the document's own, or the
        # connection's.
        expected |= {*PORTAL_AWAY, *RECOVERABLE.get(source.fault or "", ())}
    if len(struck) >= LOST_LEASES:
        expected.add("WORKER_LOST")
    if reason not in expected or not document.error.message:
        yield (
            f"FAILED with {reason!r} ({document.error.message}) after {document.attempt_count}"
            f" attempts; the portal has {source.fault or 'it'}; struck by {[*map(str, struck)]}"
        )
