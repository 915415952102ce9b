"""Act as the portal: claim what may be requested next, and record how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from storage.errors import AttemptError
from storage.listings import listing_record
from storage.portal import attempts
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.document_claims import DocumentClaim
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import Outcome
from storage.portal.request_claims import (
    ClaimContext,
    ClaimRefusal,
    CourtProbe,
    EndedJob,
    Slice,
    claim,
    claim_any,
)
from storage.portal.retries import RetryPolicy
from storage.portal.slots import Limits
from storage.portal.throttle import PausePolicy
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.factories import LANES, LOGIN, PDF

# The default number of lanes.
LIMITS = Limits(at_once=10, per_court=6, lanes=LANES)
PROBES = ProbePolicy(base_s=5, patience_s=120)
POLICY = RetryPolicy(5, 3, 0, PausePolicy(base_s=10, at_once=10), PROBES)
COURTS = ("8.26", "8.19", "5.02", "4.03", "8.21", "8.13", "5.15", "8.05", "4.01", "8.11")


def context(**limits: Any) -> ClaimContext:
    """Return the context of a worker's claims: the default limits, changed by `limits`."""
    return ClaimContext(replace(LIMITS, **limits), LOGIN, PROBES, uuid4(), lease_s=60)


def number(sequence: int, court: str = "8.26") -> str:
    """Return a well-formed process number of a court."""
    return f"{sequence:07d}-11.2025.{court}.0100"


def job(database: Database, documents: int, **values: Any) -> UUID:
    """Return a listed job of `court` and `client`."""
    court = values.pop("court", "8.26")
    sequence = int(factories.process_number()[:7])
    request = factories.request(number(sequence, court), **values)
    view, _ = factories.start(database, request)
    listing_claim = factories.listing_claim(database, view.job.job_id)
    case = factories.listing(documents)
    listing_record.record(
        database,
        listing_claim,
        replace(factories.listing_import(listing_claim.process_number, case), listed_time=None),
    )
    return view.job.job_id


Granted = DocumentClaim | ListingClaim | CourtProbe | EndedJob


def ask(database: Database, by: ClaimContext, job_id: UUID | None = None) -> Granted | None:
    """Claim one request, of this job or of any; None if it is refused."""
    answer = claim_any(database, by, 1) if job_id is None else claim(database, by, job_id, 1)
    if isinstance(answer, Slice):
        return answer.documents[0]
    return None if isinstance(answer, ClaimRefusal) else answer


def ask_all(database: Database, by: ClaimContext) -> list[DocumentClaim]:
    """Claim all documents that may be requested at once."""
    found: list[DocumentClaim] = []
    while document := ask(database, by):
        assert isinstance(document, DocumentClaim)
        found.append(document)
    return found


def answer(database: Database, document: DocumentClaim) -> None:
    """Record a good answer."""
    factories.spooled(database, document, PDF)
    file = factories.take_upload(
        database, document.job_id, document.document_id, document.lease, lease_s=60
    )
    assert file
    factories.stored(database, file)


def refuse(database: Database, document: DocumentClaim, error: AttemptError) -> Outcome:
    """Record an error as the answer."""
    return attempts.fail_attempt(database, document, error, POLICY)
