"""Bring jobs to the state where a test begins, through the functions that production uses."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from storage import sql
from storage.documents.file_records import FetchedFile, StoredFile, record_fetched, record_stored
from storage.documents.leases import take_uploads
from storage.errors import LeaseLost, RowsLocked, TransientError
from storage.jobs import reruns
from storage.jobs.job_start import StartRequest
from storage.listings import listing_cache, listing_record
from storage.listings.listed_case import CaseListing, ListedDocument
from storage.listings.listing_import import ListingImport
from storage.login.login_values import Login
from storage.objects.object_store import Objects
from storage.portal import request_claims as portal_claims
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.document_claims import CheckedContent, CheckedFile, DocumentClaim
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import Outcome
from storage.portal.request_claims import ClaimContext, Slice
from storage.portal.retries import RetryPolicy
from storage.portal.slots import Limits
from storage.postgres.database import Database, Row
from storage.records import JobView
from storage.scheduling import reconciliation
from storage.states import DocumentState
from tests import job_starts

CLIENT = "default"
LANES = 5
PATIENCE_S = 60.0
# The lanes are the only limit.
LOGIN = Login("static here", "a fingerprint")
CLAIM_CONTEXT = ClaimContext(Limits(100, 100, LANES), LOGIN, ProbePolicy(), uuid4(), lease_s=60)
HOOK = "https://receiver.test/hook"
# Attempts follow without a delay, and no circuit breaker opens, so that tests need not wait.
POLICY = RetryPolicy(attempts=5, attempts_few=3, base_s=0, probes=ProbePolicy(burst=1_000_000))
BUSY = TransientError("PORTAL_UNAVAILABLE", "The portal answered 503.")
DOWNLOADING = DocumentState.DOWNLOADING
PDF = CheckedContent(1_000, hashlib.sha256(b"any").hexdigest(), "application/pdf", "pdf")

T = TypeVar("T")

_numbers = itertools.count(1)


def process_number() -> str:
    """Return a well-formed process number that no other test has."""
    return f"{next(_numbers):07d}-11.2025.8.26.0100"


def request(number: str | None = None, **values: Any) -> StartRequest:
    """Return a StartDownload without webhook, request_id or max_age, changed by `values`."""
    given: dict[str, Any] = {
        "client": CLIENT,
        "process_number": number or process_number(),
        "webhook_url": None,
        "request_id": None,
        "max_age_s": 3_600,
        "given_max_age_s": None,
        **values,
    }
    return StartRequest(**given)


def start(
    database: Database, wanted: StartRequest | None = None, known: ListingImport | None = None
) -> tuple[JobView, bool]:
    """Do what StartDownload does."""
    return job_starts.start(database, wanted or request(), job_deadline_s=3_600, listing=known)


def recent_listing(
    database: Database,
    number: str,
    client: str = CLIENT,
    *,
    max_age_s: float,
    most: int | None = None,
) -> ListingImport | None:
    """Return the listing that a new job of the case may start with."""
    with database.autocommit() as transaction:
        row = transaction.only(
            sql.function("recent_listing").call,
            client=client,
            process_number=number,
            max_age_s=max_age_s,
            most=most,
        )
    [source] = row.values()
    return listing_cache.recent_listing(database, client, number, source) if source else None


def rerun(
    database: Database, objects: Objects, job_id: UUID, *, request_id: UUID | None = None
) -> tuple[JobView, bool]:
    """Do what RetryJob does, with a bucket that has every object."""
    return reruns.rerun(
        database,
        objects,
        CLIENT,
        job_id,
        request_id=request_id,
        job_deadline_s=3_600,
        limit_s=60,
    )


def listed(position: int, **values: Any) -> ListedDocument:
    """Return a document of a case as the portal lists it, changed by `values`."""
    given: dict[str, Any] = {
        "instance": "G1",
        "origin_id": str(position),
        "name": f"Documento {position}",
        "kind": "Petição",
        "sequence": position,
        "filed_local_time": "2025-01-02T03:04:05",
        "secrecy_level": "PUBLICO",
        "hrefs": (f"/documentos/{position}",),
        "listed_size_bytes": None,
        "listed_content_type": "application/pdf",
        "refused_reason": None,
        **values,
    }
    return ListedDocument(**given)


def listing(documents: int) -> CaseListing:
    """Return a public case with `count` documents."""
    return CaseListing(0, tuple(listed(position) for position in range(documents)))


def listing_import(number: str, case: CaseListing) -> ListingImport:
    """Return the import of a listing that reuses no objects."""
    return ListingImport.of(CLIENT, number, case)


def listing_claim(database: Database, job_id: UUID, *, lease_s: float = 60) -> ListingClaim:
    """Claim the listing of a job; it must be free."""
    claim = claim_listing(database, job_id, lease_s=lease_s)
    assert claim
    return claim


def claim_listing(database: Database, job_id: UUID, *, lease_s: float = 60) -> ListingClaim | None:
    """Claim the listing of a job, if it may be listed now."""
    answer = portal_claims.claim(database, replace(CLAIM_CONTEXT, lease_s=lease_s), job_id)
    return answer if isinstance(answer, ListingClaim) else None


def listed_job(
    database: Database, documents: int | CaseListing, wanted: StartRequest | None = None
) -> UUID:
    """Return a running job with its documents listed and waiting."""
    view, is_new = start(database, wanted)
    assert is_new
    claim = listing_claim(database, view.job.job_id)
    case = listing(documents) if isinstance(documents, int) else documents
    listing_record.record(database, claim, listing_import(claim.process_number, case))
    return view.job.job_id


def living_spool(database: Database) -> UUID:
    """Return a spool with an uploader that has just sent a heartbeat."""
    spool_id = uuid4()
    reconciliation.record_heartbeat(database, spool_id, "")
    return spool_id


def claim(
    database: Database,
    job_id: UUID,
    *,
    spool_id: UUID | None = None,
    lanes: int = LANES,
    lease_s: float = 60,
) -> DocumentClaim | None:
    """Claim the job's next document; return None if there is none."""
    context = replace(
        CLAIM_CONTEXT,
        limits=replace(CLAIM_CONTEXT.limits, lanes=lanes),
        spool_id=spool_id or uuid4(),
        lease_s=lease_s,
    )
    answer = portal_claims.claim(database, context, job_id)
    return answer.documents[0] if isinstance(answer, Slice) else None


def claimed(database: Database, job_id: UUID, **values: Any) -> DocumentClaim:
    """Claim the job's next document; there must be one."""
    found = claim(database, job_id, **values)
    assert found
    return found


def _insist(record: Callable[[], T]) -> T:
    """Return the result of `record`; repeat it while another transaction locks a row."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return record()
        except RowsLocked:
            if time.monotonic() > deadline:
                raise


def spooled(database: Database, held: DocumentClaim, content: CheckedContent = PDF) -> None:
    """Record the claimed document as spooled. Raises LeaseLost."""
    files = [FetchedFile(held, content)]
    answered = [held.slot_token]
    done = _insist(partial(record_fetched, database, files, answered=answered, waits=True))
    if not done.recorded:
        raise LeaseLost("The claim on this document is no longer ours.")


def to_store(file: CheckedFile, object_key: str | None = None) -> StoredFile:
    """Return the update that a row needs for a file in a bucket."""
    return StoredFile(file, object_key or key(file))


def stored(database: Database, file: CheckedFile, object_key: str | None = None) -> Outcome:
    """Record one file as AVAILABLE. Raises LeaseLost."""
    files = [to_store(file, object_key)]
    answered = [file.slot_token] if file.slice_token else []
    done = _insist(partial(record_stored, database, files, answered=answered, waits=True))
    if not done.recorded:
        raise LeaseLost("The claim on this document is no longer ours.")
    return Outcome(None, file.job_id in done.ended)


def take_upload(
    database: Database, job_id: UUID, document_id: UUID, lease: UUID, *, lease_s: float
) -> CheckedFile | None:
    """Lease the spooled file of a claim for its upload; return None if it does not wait for one."""
    found = take_uploads(database, None, woken_by=[lease], most=1, lease_s=lease_s)
    ours = (f for f in found if (f.job_id, f.document_id) == (job_id, document_id))
    return next(ours, None)


def upload(
    database: Database, held: DocumentClaim, *, content: CheckedContent = PDF
) -> CheckedFile:
    """Record the claimed document as spooled and lease it for its upload."""
    spooled(database, held, content)
    file = take_upload(database, held.job_id, held.document_id, held.lease, lease_s=60)
    assert file
    return file


def key(file: CheckedFile) -> str:
    """Return an object key for a file that reaches no bucket."""
    return f"{file.client}/{file.document_id}/{file.sha256[:16]}"


def store_next(database: Database, job_id: UUID, *, content: CheckedContent = PDF) -> CheckedFile:
    """Bring the job's next document from its claim to AVAILABLE."""
    file = upload(database, claimed(database, job_id), content=content)
    stored(database, file)
    return file


def job(database: Database, job_id: UUID) -> Row:
    """Return a job's row."""
    with database.transaction() as transaction:
        return transaction.only("SELECT * FROM jobs WHERE job_id = %(id)s", id=job_id)


def documents(database: Database, job_id: UUID) -> list[Row]:
    """Return a job's documents in the order of the case file."""
    with database.transaction() as transaction:
        return transaction.all(
            "SELECT * FROM documents WHERE job_id ="
            " (SELECT coalesce(documents_of, job_id) FROM jobs WHERE job_id = %(id)s)"
            " ORDER BY position",
            id=job_id,
        )


def events(database: Database, job_id: UUID) -> list[Row]:
    """Return the end events of a job's runs."""
    with database.transaction() as transaction:
        return transaction.all("SELECT * FROM events WHERE job_id = %(id)s ORDER BY run", id=job_id)


def webhooks(database: Database, job_id: UUID) -> list[Row]:
    """Return a job's webhooks."""
    with database.transaction() as transaction:
        return transaction.all(
            "SELECT * FROM webhooks WHERE job_id = %(id)s ORDER BY position", id=job_id
        )


def execute(database: Database, sql: str, **values: Any) -> int:
    """Execute a statement and return its row count; for states that only elapsed time produces."""
    with database.transaction() as transaction:
        return transaction.run(sql, **values)


def age(database: Database, job_id: UUID, seconds: float) -> None:
    """Move every timestamp of a job `seconds` into the past."""
    columns = {
        "jobs": "create_time start_time update_time deadline_time listed_time"
        " listing_not_before listing_lease_until listing_doubt_time rerun_time",
        "documents": "not_before lease_until",
        "webhooks": "next_attempt_time lease_until nudge_time",
    }
    for table, names in columns.items():
        moves = ", ".join(f"{n} = {n} - %(s)s * interval '1 second'" for n in names.split())
        execute(database, f"UPDATE {table} SET {moves} WHERE job_id = %(id)s", s=seconds, id=job_id)


def age_portal(database: Database, seconds: float) -> None:
    """Move the portal's pause and its courts' probes `seconds` into the past."""
    back = "- %(s)s * interval '1 second'"
    execute(
        database,
        f"UPDATE portal SET paused_until = paused_until {back}, pause_time = pause_time {back},"
        f" next_request_time = next_request_time {back}",
        s=seconds,
    )
    execute(
        database,
        f"UPDATE courts SET next_probe_time = next_probe_time {back},"
        f" failing_since = failing_since {back}, alive_time = alive_time {back}",
        s=seconds,
    )
    execute(
        database,
        f"UPDATE slots SET lease_until = lease_until {back}, taken_time = taken_time {back}",
        s=seconds,
    )
    for table, column in (("jobs", "listing_failing_since"), ("documents", "failing_since")):
        execute(database, f"UPDATE {table} SET {column} = {column} {back}", s=seconds)


def make_quick(database: Database, court: str) -> None:
    """Make a court fast, so that a slice may make several requests there."""
    execute(
        database,
        "INSERT INTO courts (court, request_s, measured_requests) VALUES (%(court)s, 0.001, 100)"
        " ON CONFLICT (court) DO UPDATE SET request_s = excluded.request_s,"
        " measured_requests = excluded.measured_requests",
        court=court,
    )


def held_slots(database: Database, *, longer_than_s: float = 0) -> int:
    """Return the number of slots leased for more than `longer_than_s` seconds from now."""
    with database.autocommit() as transaction:
        return int(
            transaction.only(
                "SELECT count(*) FROM slots"
                " WHERE lease_until > clock_timestamp() + %(s)s * interval '1 second'",
                s=longer_than_s,
            )["count"]
        )
