"""The portal's side of a job in tests: what is asked next, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from storage import tasks
from storage.claims import Claim
from storage.courts import ProbePolicy
from storage.database import Database
from storage.errors import AttemptError
from storage.listings import record
from storage.outcomes import Outcome
from storage.pauses import PausePolicy
from storage.portal import attempts
from storage.retries import RetryPolicy
from storage.slots import Limits
from storage.tasks import Asking, Task
from tests.integration import scenes
from tests.integration.scenes import LANES, LOGIN, PDF

# As many as by default.
LIMITS = Limits(at_once=10, per_court=6, lanes=LANES)
PROBES = ProbePolicy(base_s=5, patience_s=120)
POLICY = RetryPolicy(5, 3, 0, PausePolicy(base_s=10, at_once=10), PROBES)
COURTS = ("8.26", "8.19", "5.02", "4.03", "8.21", "8.13", "5.15", "8.05", "4.01", "8.11")


def asking(**limits: Any) -> Asking:
    """What a worker asks with, by the default limits but for `limits`."""
    return Asking(replace(LIMITS, **limits), LOGIN, PROBES, uuid4(), lease_s=60)


def number(sequence: int, court: str = "8.26") -> str:
    """A number of a court, in the right form."""
    return f"{sequence:07d}-11.2025.{court}.0100"


def job(database: Database, documents: int, **values: Any) -> UUID:
    """A listed job; `court` and `client` as given."""
    court = values.pop("court", "8.26")
    sequence = int(scenes.process_number()[:7])
    request = scenes.request(number(sequence, court), **values)
    view, _ = scenes.start(database, request)
    claim = scenes.listing_claim(database, view.job.job_id)
    case = scenes.listing(documents)
    record.record(
        database, claim, replace(scenes.docket(claim.process_number, case), listed_time=None)
    )
    return view.job.job_id


def ask(database: Database, by: Asking) -> Task | None:
    """What is asked next, if anything may be."""
    found, is_more = tasks.next_claims(database, by, 1)
    if found:
        return found[0]
    return tasks.next_task(database, by) if is_more else None


def ask_all(database: Database, by: Asking) -> list[Claim]:
    """The documents that may be asked for at once."""
    found: list[Claim] = []
    while task := ask(database, by):
        assert isinstance(task, Claim)
        found.append(task)
    return found


def answer(database: Database, claim: Claim) -> int:
    """A good answer, stored; what may begin beside it."""
    wakes = scenes.spooled(database, claim, PDF)
    file = scenes.take_upload(database, claim.job_id, claim.document_id, claim.lease, lease_s=60)
    assert file
    scenes.stored(database, file)
    return wakes


def refuse(database: Database, claim: Claim, error: AttemptError) -> Outcome:
    """An answer that is an error."""
    return attempts.fail_attempt(database, claim, error, POLICY)
