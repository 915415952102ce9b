"""Test claims: five lanes, one holder each, and no effect of a former holder."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import pytest

from storage.documents.file_records import FetchedFile, record_fetched
from storage.documents.leases import postpone_upload, renew_leases, take_uploads
from storage.errors import (
    AttemptError,
    LeaseLost,
    PermanentError,
    RowsLocked,
    TooFast,
    TransientError,
)
from storage.job_end import completion
from storage.jobs import job_queries, watch_queries
from storage.listings.listed_case import CaseListing
from storage.portal import attempts
from storage.portal.document_claims import CheckedContent, CheckedFile, DocumentClaim
from storage.portal.request_claims import return_unstarted
from storage.portal.retries import LOST_LEASES, RetryPolicy
from storage.postgres.database import Database, Row
from storage.scheduling import reconciliation
from storage.states import DocumentState, JobState
from tests.integration.harness import factories
from tests.integration.harness.concurrency import rounds, run_concurrently
from tests.integration.harness.factories import BUSY, CLIENT, HOOK, LANES, PDF, POLICY

SPOOL = uuid4()

GONE = PermanentError("NOT_FOUND", "The portal does not have it.")


def _states(database: Database, job_id: UUID) -> list[str]:
    return [row["state"] for row in factories.documents(database, job_id)]


def _snapshot(database: Database, job_id: UUID) -> tuple[Row, list[Row]]:
    return factories.job(database, job_id), factories.documents(database, job_id)


# Lanes.


def test_never_more_documents_on_their_way_than_lanes(database: Database) -> None:
    job_id = factories.listed_job(database, 40)

    found = run_concurrently([partial(factories.claim, database, job_id)] * 20)

    taken = [claim.document_id for claim in found if claim]
    assert len(taken) == LANES
    assert len(set(taken)) == LANES
    assert Counter(_states(database, job_id)) == {"DOWNLOADING": LANES, "PENDING": 35}


def test_twenty_threads_store_each_document_once_in_five_lanes(database: Database) -> None:
    job_id = factories.listed_job(database, 60)
    stored: list[UUID] = []
    most = 0

    def lane() -> None:
        nonlocal most
        while factories.job(database, job_id)["end_time"] is None and len(stored) < 60:
            claim = factories.claim(database, job_id)
            most = max(most, _in_lanes(database, job_id))
            if claim:
                file = factories.upload(database, claim)
                factories.stored(database, file)
                stored.append(file.document_id)

    run_concurrently([lane] * 20)

    assert len(stored) == len(set(stored)) == 60
    assert 1 <= most <= LANES
    job = factories.job(database, job_id)
    assert (job["state"], job["completed_documents"]) == ("COMPLETED", 60)
    assert job["stored_bytes"] == 60 * PDF.size_bytes
    assert len(factories.events(database, job_id)) == 1


def _in_lanes(database: Database, job_id: UUID) -> int:
    return sum(state in {"DOWNLOADING", "DOWNLOADED"} for state in _states(database, job_id))


def test_a_spooled_file_keeps_its_lane_until_it_is_stored(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    claim = factories.claimed(database, job_id, lanes=1)
    factories.spooled(database, claim, PDF)
    assert factories.claim(database, job_id, lanes=1) is None

    file = factories.take_upload(database, job_id, claim.document_id, claim.lease, lease_s=60)
    assert file
    factories.stored(database, file)

    assert factories.claim(database, job_id, lanes=1)


def test_the_lanes_of_one_job_leave_another_alone(database: Database) -> None:
    first, second = factories.listed_job(database, 9), factories.listed_job(database, 9)
    for _ in range(LANES):
        factories.claimed(database, first)

    assert factories.claim(database, first) is None
    assert factories.claim(database, second)


def test_documents_are_claimed_in_the_order_of_the_case_file(database: Database) -> None:
    job_id = factories.listed_job(database, 7)

    names = [factories.claimed(database, job_id, lanes=7).name for _ in range(7)]

    assert names == [f"Documento {position}" for position in range(7)]


def test_a_document_that_is_not_ready_is_passed_over(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    attempts.give_back(database, factories.claimed(database, job_id), delay_s=60)

    assert factories.claimed(database, job_id).name == "Documento 1"

    factories.age(database, job_id, 61)
    assert factories.claimed(database, job_id).name == "Documento 0"


def test_a_job_with_only_waiting_documents_has_nothing_to_claim(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    attempts.give_back(database, factories.claimed(database, job_id), delay_s=60)

    assert factories.claim(database, job_id) is None


@pytest.mark.parametrize("documents", [0, 1])
def test_an_ended_job_has_nothing_to_claim(database: Database, documents: int) -> None:
    job_id = factories.listed_job(database, documents)
    job_queries.cancel(database, CLIENT, job_id)

    assert factories.claim(database, job_id) is None


def test_an_unknown_job_has_nothing_to_claim(database: Database) -> None:
    assert factories.claim(database, uuid4()) is None


# Fencing.


def _use(
    database: Database, held: DocumentClaim, file: CheckedFile
) -> dict[str, Callable[[], object]]:
    """Call every function that takes a token, as its former holder would."""
    return {
        "spooled": lambda: factories.spooled(database, held, PDF),
        "stored": lambda: factories.stored(database, file),
        "give_back": lambda: attempts.give_back(database, held, delay_s=9),
        "give_back lost": lambda: attempts.give_back(database, held, is_lost=True),
        "fail_attempt": lambda: attempts.fail_attempt(database, held, BUSY, POLICY),
        "fail_attempt for good": lambda: attempts.fail_attempt(database, held, GONE, POLICY),
        "expire downloading": lambda: attempts.expire(database, held, DocumentState.DOWNLOADING),
        "expire downloaded": lambda: attempts.expire(database, held, DocumentState.DOWNLOADED),
    }


SILENT: dict[str, Callable[[Database, DocumentClaim, CheckedFile], object]] = {
    "keep": lambda db, held, _: renew_leases(db, [held.lease], lease_s=999),
    "take_upload": lambda db, held, _: factories.take_upload(
        db, held.job_id, held.document_id, held.lease, lease_s=999
    ),
    "postpone_upload": lambda db, _, file: postpone_upload(db, file, spool_id=SPOOL, delay_s=999),
    "return_unstarted": lambda db, held, _: return_unstarted(db, held.job_id, [held.lease]),
}


def _spooled(database: Database, held: DocumentClaim) -> CheckedFile:
    """Return what an uploader that leased the claim's file would have."""
    real = factories.upload(
        database, factories.claimed(database, factories.listed_job(database, 1))
    )
    return replace(real, job_id=held.job_id, document_id=held.document_id, lease=held.lease)


def _to_pending(database: Database, held: DocumentClaim) -> None:
    attempts.give_back(database, held, delay_s=60)


def _to_another(database: Database, held: DocumentClaim) -> None:
    attempts.give_back(database, held)
    assert factories.claimed(database, held.job_id).document_id == held.document_id


def _to_anothers_spool(database: Database, held: DocumentClaim) -> None:
    attempts.give_back(database, held)
    factories.spooled(database, factories.claimed(database, held.job_id), PDF)


def _to_the_bucket(database: Database, held: DocumentClaim) -> None:
    attempts.give_back(database, held)
    factories.store_next(database, held.job_id)


def _to_failure(database: Database, held: DocumentClaim) -> None:
    attempts.fail_attempt(database, held, GONE, POLICY)


def _to_cancelled(database: Database, held: DocumentClaim) -> None:
    job_queries.cancel(database, CLIENT, held.job_id)


@pytest.mark.parametrize(
    "moved",
    [
        *(_to_pending, _to_another, _to_anothers_spool, _to_the_bucket),
        *(_to_failure, _to_cancelled),
    ],
)
def test_a_stale_token_changes_nothing(
    database: Database, moved: Callable[[Database, DocumentClaim], None]
) -> None:
    # Given a reclaimed claim, whatever state its document has since
    job_id = factories.listed_job(database, 2)
    held = factories.claimed(database, job_id)
    moved(database, held)
    file = _spooled(database, held)
    before = _snapshot(database, job_id)

    # When its former holder resumes, with any call
    for name, use in _use(database, held, file).items():
        with pytest.raises(LeaseLost):
            use()
        assert _snapshot(database, job_id) == before, name
    results = {name: use(database, held, file) for name, use in SILENT.items()}

    # Then nothing has changed, not even a revision
    assert results == {
        "keep": set(),
        "take_upload": None,
        "postpone_upload": None,
        "return_unstarted": [],
    }
    assert _snapshot(database, job_id) == before


def test_a_token_that_never_was_changes_nothing(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    forged = replace(held, lease=uuid4())
    before = _snapshot(database, job_id)

    for use in _use(database, forged, _spooled(database, forged)).values():
        with pytest.raises(LeaseLost):
            use()

    assert _snapshot(database, job_id) == before


def test_the_holder_cannot_skip_a_step(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)

    upload = factories.take_upload(database, job_id, held.document_id, held.lease, lease_s=60)
    assert upload is None


def test_a_hand_over_whose_answer_was_lost_may_be_repeated(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    factories.spooled(database, held, PDF)
    before = _snapshot(database, job_id)

    factories.spooled(database, held, PDF)

    assert _snapshot(database, job_id) == before


def test_what_is_in_the_spool_is_not_given_back_as_unrequested(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    factories.spooled(database, held, PDF)
    before = _snapshot(database, job_id)

    assert return_unstarted(database, job_id, [held.lease]) == []

    assert _snapshot(database, job_id) == before


def test_two_uploaders_never_take_the_same_file(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    factories.spooled(database, held, PDF)
    take = partial(
        factories.take_upload, database, job_id, held.document_id, held.lease, lease_s=60
    )

    taken = run_concurrently([take] * 10)

    assert sum(file is not None for file in taken) == 1


def test_an_uploader_takes_the_file_it_is_woken_for_then_any_that_waits(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    spool_id = factories.living_spool(database)
    first, second, third = (
        factories.claimed(database, job_id, spool_id=spool_id) for _ in range(3)
    )
    elsewhere = factories.claimed(database, factories.listed_job(database, 1))
    for held in (first, second, elsewhere):
        factories.spooled(database, held, PDF)
    take = partial(take_uploads, database, spool_id, most=1, lease_s=60)

    taken = [take(woken_by=[second.lease]) for _ in range(3)]

    found = [[file.lease for file in each] for each in taken]
    assert found == [[second.lease], [first.lease], []], "one that is not fetched yet, or not here"
    job_queries.cancel(database, CLIENT, job_id)
    assert take(woken_by=[third.lease]) == []


def test_a_message_that_comes_twice_takes_no_other_files_place(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    spool_id = factories.living_spool(database)
    held = [factories.claimed(database, job_id, spool_id=spool_id) for _ in range(3)]
    record_fetched(database, [FetchedFile(each, PDF) for each in held])

    found = take_uploads(database, spool_id, woken_by=[held[0].lease] * 2, most=2, lease_s=60)

    assert len({file.lease for file in found}) == 2


def test_a_transaction_that_keeps_a_job_locked_delays_no_other_for_long(
    database: Database, database_url: str
) -> None:
    stuck, other = (factories.listed_job(database, 2) for _ in range(2))
    held = [factories.claimed(database, job_id) for job_id in (stuck, other)]
    other_process = Database(database_url, max_connections=1)
    with other_process.transaction() as transaction:
        transaction.all("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=stuck)
        done = record_fetched(database, [FetchedFile(each, PDF) for each in held])
        with pytest.raises(RowsLocked):
            record_fetched(database, [FetchedFile(held[0], PDF)], waits=True)

    other_process.close()
    assert (done.recorded, done.busy) == ({held[1].lease}, {held[0].lease})
    factories.spooled(database, held[0], PDF)
    assert [_states(database, job_id)[0] for job_id in (stuck, other)] == ["DOWNLOADED"] * 2


def test_an_upload_whose_lease_ran_out_can_be_taken_again(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    first = factories.upload(database, factories.claimed(database, job_id))
    factories.age(database, job_id, 61)

    again = factories.take_upload(database, job_id, first.document_id, first.lease, lease_s=60)

    assert again
    assert replace(again, take_time=first.take_time) == first


def test_a_postponed_upload_waits_and_counts_no_attempt(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    file = factories.upload(database, factories.claimed(database, job_id))

    postpone_upload(database, file, spool_id=SPOOL, delay_s=30)

    take = partial(
        factories.take_upload, database, job_id, file.document_id, file.lease, lease_s=60
    )
    assert take() is None
    factories.age(database, job_id, 31)
    again = take()
    assert again
    assert again.pause_count == 1
    assert factories.documents(database, job_id)[0]["attempt_count"] == 1


# Renewal.


def test_a_kept_lease_is_prolonged_and_reported(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    held, other = (factories.claimed(database, job_id, lease_s=5) for _ in range(2))

    kept = renew_leases(database, [held.lease, uuid4()], lease_s=500)

    assert kept == {held.lease}
    row, left = factories.documents(database, job_id)
    assert (row["lease"], left["lease"]) == (held.lease, other.lease)
    assert (row["lease_until"] - left["lease_until"]).total_seconds() > 400


def test_keeping_nothing_keeps_nothing(database: Database) -> None:
    assert renew_leases(database, [], lease_s=5) == set()


def test_a_late_renewal_does_not_lock_the_uploader_out(database: Database) -> None:
    # Given a lease renewer that renews just after the worker handed the file over
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    factories.spooled(database, held, PDF)

    assert renew_leases(database, [held.lease], lease_s=60) == {held.lease}

    assert factories.take_upload(database, job_id, held.document_id, held.lease, lease_s=60)


def test_a_locked_row_still_counts_as_held(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)

    with database.transaction() as transaction:
        transaction.one("SELECT FROM documents WHERE lease = %(l)s FOR UPDATE", l=held.lease)
        (kept,) = run_concurrently([lambda: renew_leases(database, [held.lease], lease_s=60)])

    assert kept == {held.lease}


# Attempts.


def test_a_transient_failure_is_tried_again_up_to_the_policy(database: Database) -> None:
    job_id = factories.listed_job(database, 1)

    outcomes = [
        attempts.fail_attempt(database, factories.claimed(database, job_id), BUSY, POLICY)
        for _ in range(POLICY.attempts)
    ]

    assert [o.delay_s for o in outcomes] == [0, 0, 0, 0, None]
    assert [o.job_has_ended for o in outcomes] == [False] * 4 + [True]
    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["attempt_count"]) == ("FAILED", POLICY.attempts)
    assert (row["error_reason"], row["error_is_retryable"]) == (BUSY.reason, True)
    job = factories.job(database, job_id)
    assert (job["state"], job["failed_documents"]) == ("FAILED", 1)
    assert job["error_reason"] == "NO_DOCUMENT_AVAILABLE"
    assert BUSY.reason in job["error_message"]


def test_between_attempts_the_document_waits_with_its_last_error(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    slow = RetryPolicy(attempts=5, attempts_few=3, base_s=50)

    outcome = attempts.fail_attempt(database, factories.claimed(database, job_id), BUSY, slow)

    assert outcome.delay_s is not None
    assert 40 <= outcome.delay_s <= 60
    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["error_reason"]) == ("PENDING", BUSY.reason)
    assert factories.claim(database, job_id) is None
    factories.age(database, job_id, 61)
    assert factories.claim(database, job_id)


def test_a_permanent_failure_fails_at_once_and_alone(database: Database) -> None:
    job_id = factories.listed_job(database, 2)

    outcome = attempts.fail_attempt(database, factories.claimed(database, job_id), GONE, POLICY)

    assert (outcome.delay_s, outcome.job_has_ended) == (None, False)
    assert _states(database, job_id) == ["FAILED", "PENDING"]
    factories.store_next(database, job_id)
    job = factories.job(database, job_id)
    assert (job["state"], job["error_reason"]) == ("PARTIALLY_COMPLETED", None)


@pytest.mark.parametrize("error", [GONE, TransientError("CORRUPT", "cut", is_few=True)])
def test_a_link_that_fails_for_good_gives_way_to_its_twin(
    database: Database, error: AttemptError
) -> None:
    # Given a document that the portal lists under two links
    case = CaseListing(0, (factories.listed(0, hrefs=("/one", "/two")),))
    job_id = factories.listed_job(database, case)

    # When the first link fails, then the second has all attempts of its own
    tried = []
    for _ in range(20):
        claim = factories.claim(database, job_id)
        if claim is None:
            break
        tried.append(claim.href)
        attempts.fail_attempt(database, claim, error, POLICY)

    each = 1 if error is GONE else POLICY.attempts_few
    assert tried == ["/one"] * each + ["/two"] * each
    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["attempt_count"]) == ("FAILED", 2 * each)


def test_a_twin_that_works_makes_the_document_available(database: Database) -> None:
    case = CaseListing(0, (factories.listed(0, hrefs=("/one", "/two")),))
    job_id = factories.listed_job(database, case)
    attempts.fail_attempt(database, factories.claimed(database, job_id), GONE, POLICY)

    factories.store_next(database, job_id)

    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["error_reason"]) == ("AVAILABLE", None)
    assert factories.job(database, job_id)["state"] == "COMPLETED"


def test_429_counts_no_attempt_however_often(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    too_fast = TooFast("slow down", retry_after_s=7)

    for _ in range(3 * POLICY.attempts):
        outcome = attempts.fail_attempt(
            database, factories.claimed(database, job_id), too_fast, POLICY
        )
        assert outcome.delay_s is not None
        assert 7 <= outcome.delay_s <= 8.4
        factories.age(database, job_id, 10)
        factories.age_portal(database, 3_600)

    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["attempt_count"], row["href_attempt_count"]) == ("PENDING", 0, 0)


def test_giving_back_counts_no_attempt(database: Database) -> None:
    job_id = factories.listed_job(database, 1)

    for _ in range(3 * LOST_LEASES):
        attempts.give_back(database, factories.claimed(database, job_id))

    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)


def test_the_fifth_lost_lease_fails_the_document(database: Database) -> None:
    job_id = factories.listed_job(database, 1)

    for _ in range(LOST_LEASES):
        assert factories.job(database, job_id)["state"] == "PROCESSING"
        held = factories.claimed(database, job_id, lease_s=-1)
        outcome = attempts.expire(database, held, DocumentState.DOWNLOADING)

    assert (outcome.delay_s, outcome.job_has_ended) == (None, True)
    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["error_reason"], row["attempt_count"]) == ("FAILED", "WORKER_LOST", 0)
    assert row["error_is_retryable"] is True


def test_a_lease_that_still_holds_is_not_expired(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)

    with pytest.raises(LeaseLost):
        attempts.expire(database, held, DocumentState.DOWNLOADING)

    assert _states(database, job_id) == ["DOWNLOADING"]


def test_a_file_handed_over_at_the_last_moment_is_not_fetched_again(database: Database) -> None:
    # Given a scheduler that read an expired lease, and a worker that was almost ready
    job_id = factories.listed_job(database, 1)
    held = factories.claimed(
        database, job_id, spool_id=factories.living_spool(database), lease_s=-1
    )
    factories.spooled(database, held, PDF)

    # When the scheduler reclaims it
    for state in (DocumentState.DOWNLOADING, DocumentState.DOWNLOADED):
        with pytest.raises(LeaseLost):
            attempts.expire(database, held, state)

    # Then the file stays where it is
    assert _states(database, job_id) == ["DOWNLOADED"]


def test_attempts_and_pauses_are_counted_apart(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    too_fast = TooFast("slow down", retry_after_s=0)
    attempts.fail_attempt(database, factories.claimed(database, job_id), BUSY, POLICY)
    attempts.fail_attempt(database, factories.claimed(database, job_id), too_fast, POLICY)
    attempts.give_back(database, factories.claimed(database, job_id), is_lost=True)
    factories.age_portal(database, 60)
    factories.store_next(database, job_id)

    (row,) = factories.documents(database, job_id)
    assert (row["attempt_count"], row["lost_lease_count"]) == (2, 1)


# Revisions.


def test_every_change_takes_a_revision_of_its_own(database: Database) -> None:
    # Given readers that record every revision of every document
    job_id = factories.listed_job(database, 30)
    seen: dict[int, set[tuple[UUID, str]]] = {}
    last = 0
    over = threading.Event()

    def reader() -> None:
        nonlocal last
        while True:
            is_last = over.is_set()
            job = factories.job(database, job_id)
            assert job["revision"] >= last, "a revision went back"
            last = job["revision"]
            for row in factories.documents(database, job_id):
                change = (row["document_id"], row["state"])
                seen.setdefault(row["revision"], set()).add(change)
            if is_last:
                return

    # When the documents take every transition
    def lane(index: int) -> None:
        while claim := factories.claim(database, job_id):
            match (index + _position(database, claim)) % 4:
                case 0:
                    attempts.fail_attempt(database, claim, BUSY, POLICY)
                case 1:
                    attempts.fail_attempt(database, claim, GONE, POLICY)
                case _:
                    file = factories.upload(database, claim)
                    factories.stored(database, file)

    watching = threading.Thread(target=reader)
    watching.start()
    run_concurrently([partial(lane, index) for index in range(LANES)])
    over.set()
    watching.join()

    # Then no revision stands for two changes, and the job's is never behind
    assert all(len(changes) == 1 for changes in seen.values())
    revisions = [row["revision"] for row in factories.documents(database, job_id)]
    assert len(set(revisions)) == 30
    assert factories.job(database, job_id)["revision"] > max(revisions)


def _position(database: Database, claim: DocumentClaim) -> int:
    rows = factories.documents(database, claim.job_id)
    return int(next(r["position"] for r in rows if r["document_id"] == claim.document_id))


def test_changes_are_returned_in_the_order_of_revisions(database: Database) -> None:
    job_id = factories.listed_job(database, 4)
    before = factories.job(database, job_id)["revision"]
    first, second = factories.claimed(database, job_id), factories.claimed(database, job_id)
    attempts.give_back(database, first)

    now = factories.job(database, job_id)["revision"]
    changed = watch_queries.read_changes(database, {job_id: before})[job_id].documents

    assert [d.document_id for d in changed] == [second.document_id, first.document_id]
    assert [d.revision for d in changed] == [before + 2, before + 3]
    assert watch_queries.read_changes(database, {job_id: now})[job_id].documents == []


def test_a_listing_and_a_cancellation_number_their_documents(database: Database) -> None:
    job_id = factories.listed_job(database, 10)
    listed = [row["revision"] for row in factories.documents(database, job_id)]
    assert listed == sorted(set(listed))
    assert factories.job(database, job_id)["revision"] > listed[-1]

    job_queries.cancel(database, CLIENT, job_id)

    cancelled = [row["revision"] for row in factories.documents(database, job_id)]
    assert cancelled == sorted(set(cancelled))
    assert cancelled[0] > listed[-1]
    assert factories.job(database, job_id)["revision"] > cancelled[-1]


def test_changes_are_announced_after_the_commit_and_only_then(database_url: str) -> None:
    results: list[tuple[UUID, int]] = []
    database = Database(
        database_url,
        max_connections=2,
        on_change=lambda job_id, _: results.append((job_id, _committed(job_id))),
    )
    reader = Database(database_url, max_connections=1)

    def _committed(job_id: UUID) -> int:
        return int(factories.job(reader, job_id)["revision"])

    job_id = factories.listed_job(database, 1)
    held = factories.claimed(database, job_id)
    assert results[-1] == (job_id, _committed(job_id))
    attempts.give_back(database, held)
    count = len(results)
    with pytest.raises(LeaseLost):
        factories.spooled(database, held, PDF)

    assert len(results) == count
    database.close()
    reader.close()


# The end.


def test_the_last_two_documents_at_the_same_moment_end_the_job_once(database: Database) -> None:
    for _ in range(40):
        job_id = factories.listed_job(database, 2, factories.request(webhook_url=HOOK))
        files = [factories.upload(database, factories.claimed(database, job_id)) for _ in range(2)]

        outcomes = run_concurrently([partial(factories.stored, database, file) for file in files])

        assert sorted(o.job_has_ended for o in outcomes) == [False, True]
        assert factories.job(database, job_id)["state"] == "COMPLETED"
        assert len(factories.events(database, job_id)) == 1


def test_a_run_that_has_ended_is_never_ended_again(database: Database) -> None:
    job_id = factories.listed_job(database, 1, factories.request(webhook_url=HOOK))
    factories.store_next(database, job_id)
    before = (factories.job(database, job_id), factories.events(database, job_id))

    with pytest.raises(AssertionError), database.transaction() as transaction:
        completion.end(transaction, job_id, JobState.CANCELLED)

    assert (factories.job(database, job_id), factories.events(database, job_id)) == before


def test_a_last_success_and_a_last_failure_end_the_job_once(database: Database) -> None:
    for _ in range(40):
        job_id = factories.listed_job(database, 2)
        file = factories.upload(database, factories.claimed(database, job_id))
        held = factories.claimed(database, job_id)

        outcomes = run_concurrently(
            [
                partial(factories.stored, database, file),
                partial(attempts.fail_attempt, database, held, GONE, POLICY),
            ]
        )

        assert sorted(o.job_has_ended for o in outcomes) == [False, True]
        job = factories.job(database, job_id)
        assert job["state"] == "PARTIALLY_COMPLETED"
        assert (job["completed_documents"], job["failed_documents"]) == (1, 1)


def test_the_end_freezes_an_event_and_makes_every_webhook_due(database: Database) -> None:
    wanted = factories.request(webhook_url=HOOK)
    job_id = factories.listed_job(database, 2, wanted)
    factories.start(database, factories.request(wanted.process_number, webhook_url=f"{HOOK}/2"))
    factories.store_next(database, job_id)
    assert factories.events(database, job_id) == []
    attempts.fail_attempt(database, factories.claimed(database, job_id), GONE, POLICY)

    job = factories.job(database, job_id)
    (event,) = factories.events(database, job_id)
    assert event["type"] == "download.partially_completed"
    assert (event["run"], event["event_time"]) == (1, job["end_time"])
    assert event["job"]["state"] == "PARTIALLY_COMPLETED"
    assert event["job"]["revision"] == job["revision"]
    assert [d["state"] for d in event["documents"]] == ["AVAILABLE", "FAILED"]
    hooks = factories.webhooks(database, job_id)
    assert [h["url"] for h in hooks] == [HOOK, f"{HOOK}/2"]
    assert {(h["state"], h["event_id"]) for h in hooks} == {("PENDING", event["event_id"])}
    assert len({h["webhook_id"] for h in hooks}) == 2

    # and the event stays as it was, whatever happens to the rows
    factories.execute(
        database, "UPDATE documents SET name = 'another' WHERE job_id = %(i)s", i=job_id
    )
    assert factories.events(database, job_id) == [event]


def test_an_end_without_a_webhook_keeps_no_snapshot_of_the_documents(database: Database) -> None:
    job_id = factories.listed_job(database, 0)

    (event,) = factories.events(database, job_id)

    assert event["job"]["state"] == "COMPLETED"
    assert event["documents"] is None


# Cancelling.


def test_cancel_takes_back_what_is_claimed(database: Database) -> None:
    # Given a document in every state before an end, and two in an end
    job_id = factories.listed_job(database, 6, factories.request(webhook_url=HOOK))
    factories.store_next(database, job_id)
    attempts.fail_attempt(database, factories.claimed(database, job_id), GONE, POLICY)
    uploading = factories.upload(database, factories.claimed(database, job_id))
    in_spool = factories.claimed(database, job_id)
    factories.spooled(database, in_spool, PDF)
    downloading = factories.claimed(database, job_id)

    view = job_queries.cancel(database, CLIENT, job_id)

    assert _states(database, job_id) == ["AVAILABLE", "FAILED", *["CANCELLED"] * 4]
    assert (view.job.state, view.job.cancelled_documents) == ("CANCELLED", 4)
    leases = [uploading.lease, in_spool.lease, downloading.lease]
    assert renew_leases(database, leases, lease_s=60) == set()
    assert reconciliation.orphaned_tokens(database, leases) == set(leases)
    (event,) = factories.events(database, job_id)
    assert event["type"] == "download.cancelled"


def test_cancelling_an_ended_job_changes_nothing(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    factories.store_next(database, job_id)
    before = _snapshot(database, job_id)

    view = job_queries.cancel(database, CLIENT, job_id)

    assert view.job.state == "COMPLETED"
    assert _snapshot(database, job_id) == before


def test_cancel_and_finish_at_the_same_moment_are_one_end(database: Database) -> None:
    ends: Counter[str] = Counter()
    for _ in rounds(ends):
        job_id = factories.listed_job(database, 1, factories.request(webhook_url=HOOK))
        file = factories.upload(database, factories.claimed(database, job_id))

        finished, cancelled = run_concurrently(
            [partial(_has_finished, database, file), partial(_has_cancelled, database, job_id)]
        )

        assert finished != cancelled
        job = factories.job(database, job_id)
        assert job["state"] == ("COMPLETED" if finished else "CANCELLED")
        (event,) = factories.events(database, job_id)
        assert event["job"]["state"] == job["state"]
        (hook,) = factories.webhooks(database, job_id)
        assert hook["event_id"] == event["event_id"]
        ends[job["state"]] += 1
    assert len(ends) == 2, "the race never went both ways, so it proved nothing"


def _has_finished(database: Database, file: CheckedFile) -> bool:
    try:
        return factories.stored(database, file).job_has_ended
    except LeaseLost:
        return False


def _has_cancelled(database: Database, job_id: UUID) -> bool:
    return job_queries.cancel(database, CLIENT, job_id).job.state == "CANCELLED"


# Everything at once.


def test_everything_at_once_neither_deadlocks_nor_miscounts(database: Database) -> None:
    # Given a few jobs, and threads that apply every operation to them for two seconds. A deadlock
    # would raise ServiceUnavailable here, and the fixture would count it.
    spool_id = factories.living_spool(database)
    wanted = [factories.request(webhook_url=HOOK) for _ in range(4)]
    job_ids = [factories.listed_job(database, 40, w) for w in wanted]
    over = threading.Event()

    def repeat(step: Callable[[UUID], object]) -> None:
        while not over.is_set():
            for job_id in job_ids:
                try:
                    step(job_id)
                except (LeaseLost, RowsLocked):
                    # A step waits for a job's row for a limited time and is then repeated.
                    continue

    def fetch(job_id: UUID) -> None:
        if claim := factories.claim(database, job_id, spool_id=spool_id):
            renew_leases(database, [claim.lease], lease_s=60)
            factories.spooled(
                database, claim, CheckedContent(7, PDF.sha256, "application/pdf", "pdf")
            )
            file = factories.take_upload(
                database, job_id, claim.document_id, claim.lease, lease_s=60
            )
            if file:
                factories.stored(database, file)

    def fail(job_id: UUID) -> None:
        if claim := factories.claim(database, job_id, spool_id=spool_id):
            attempts.fail_attempt(database, claim, BUSY, POLICY)

    def vanish(job_id: UUID) -> None:
        factories.claim(database, job_id, spool_id=spool_id, lease_s=0)

    def keep(job_id: UUID) -> None:
        rows = [d["lease"] for j in job_ids for d in factories.documents(database, j) if d["lease"]]
        renew_leases(database, rows, lease_s=0.01)

    # A job has ten webhooks at most.
    hooks = itertools.count()

    def join(job_id: UUID) -> None:
        number = wanted[job_ids.index(job_id)].process_number
        url = f"{HOOK}/{next(hooks) % 9}"
        factories.start(database, factories.request(number, webhook_url=url))

    def watch(job_id: UUID) -> None:
        watch_queries.read_changes(database, dict.fromkeys(job_ids, 0))

    def repair(job_id: UUID) -> None:
        reconciliation.reclaim(database)
        reconciliation.time_out(database)
        reconciliation.finish_idle(database)
        reconciliation.stalled_webhooks(database, is_redis_lost=True)

    def cancel_one() -> None:
        # Seconds of activity before and after; the test waits for no condition.
        over.wait(1)
        try:
            job_queries.cancel(database, CLIENT, job_ids[0])
            over.wait(1)
        finally:
            over.set()

    steps = [*[fetch] * 6, *[fail] * 2, vanish, keep, join, watch, repair, repair]

    # When the threads are done
    players: list[Callable[[], None]] = [partial(repeat, step) for step in steps]
    run_concurrently([*players, cancel_one])

    # Then the counters match the rows, and every job ended once
    for job_id in job_ids:
        job, rows = _snapshot(database, job_id)
        states = Counter(row["state"] for row in rows)
        assert job["completed_documents"] == states["AVAILABLE"]
        assert job["failed_documents"] == states["FAILED"]
        assert job["cancelled_documents"] == states["CANCELLED"]
        assert job["stored_bytes"] == 7 * states["AVAILABLE"]
        assert states["DOWNLOADING"] + states["DOWNLOADED"] <= LANES
        assert len(factories.events(database, job_id)) == (job["end_time"] is not None)
        assert job["revision"] >= max(row["revision"] for row in rows)
        assert len({row["revision"] for row in rows}) == len(rows)
    assert factories.job(database, job_ids[0])["end_time"] is not None
