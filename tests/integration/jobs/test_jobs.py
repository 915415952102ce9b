"""Test jobs: a case has one running job, and a listing is imported whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import peewee
import pytest

from dev.processes.deadline import until
from storage import sql
from storage.documents import document_queries
from storage.documents.document_queries import DocumentFilter
from storage.documents.leases import renew_leases
from storage.errors import (
    LeaseLost,
    NotFound,
    PermanentError,
    RequestIdReused,
    ServiceUnavailable,
    TooFast,
)
from storage.jobs import job_queries
from storage.jobs.job_queries import JobFilter
from storage.jobs.job_start import MAX_WEBHOOKS, StartRequest
from storage.listings import listing_cache, listing_record
from storage.listings.listed_case import CaseListing
from storage.listings.listing_import import ImportRows, ListingImport
from storage.objects.object_names import object_key
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.portal import attempts
from storage.portal.document_claims import CheckedContent, CheckedFile
from storage.portal.request_claims import ClaimRefusal, EndedJob, claim_any
from storage.portal.retries import LOST_LEASES
from storage.postgres.database import Database
from storage.priorities import Priority
from storage.records import JobView
from tests.integration.harness import factories
from tests.integration.harness.concurrency import rounds, run_concurrently
from tests.integration.harness.factories import BUSY, CLAIM_CONTEXT, CLIENT, HOOK, POLICY

UNKNOWN = PermanentError("NOT_FOUND", "The portal does not know this case.")


def _start(database: Database, wanted: StartRequest) -> Callable[[], tuple[JobView, bool]]:
    return partial(factories.start, database, wanted)


# Start and join.


def test_fifty_calls_at_the_same_moment_make_one_job(database: Database) -> None:
    number = factories.process_number()

    answers = run_concurrently([_start(database, factories.request(number))] * 50)

    assert len({view.job.job_id for view, _ in answers}) == 1
    assert Counter(is_new for _, is_new in answers) == {True: 1, False: 49}


def test_fifty_calls_with_one_request_id_make_one_job(database: Database) -> None:
    wanted = factories.request(request_id=uuid4(), webhook_url=HOOK)

    answers = run_concurrently([_start(database, wanted)] * 50)

    assert len({view.job.job_id for view, _ in answers}) == 1
    assert Counter(is_new for _, is_new in answers) == {True: 1, False: 49}
    (hook,) = factories.webhooks(database, answers[0][0].job.job_id)
    assert hook["url"] == HOOK


def test_ten_joins_with_a_webhook_each_lose_none(database: Database) -> None:
    number = factories.process_number()
    urls = [f"{HOOK}/{index}" for index in range(MAX_WEBHOOKS)]

    answers = run_concurrently(
        [_start(database, factories.request(number, webhook_url=url)) for url in urls]
    )

    (job_id,) = {view.job.job_id for view, _ in answers}
    hooks = factories.webhooks(database, job_id)
    assert {hook["url"] for hook in hooks} == set(urls)
    assert [hook["position"] for hook in hooks] == list(range(MAX_WEBHOOKS))


def test_a_job_without_a_webhook_begins_at_once_and_one_with_it_waits(database: Database) -> None:
    without, _ = factories.start(database)
    with_hook, _ = factories.start(database, factories.request(webhook_url=HOOK))

    assert (without.job.state, without.job.start_time is None) == ("PROCESSING", False)
    assert (with_hook.job.state, with_hook.job.start_time) == ("PENDING", None)
    assert [(w.url, w.state) for w in with_hook.webhooks] == [(HOOK, "WAITING")]


def test_joining_again_with_the_same_url_changes_nothing(database: Database) -> None:
    wanted = factories.request(webhook_url=HOOK)
    first, _ = factories.start(database, wanted)

    second, is_new = factories.start(database, wanted)

    assert not is_new
    assert second == first


def test_a_new_url_is_a_change_that_is_published(database: Database) -> None:
    first, _ = factories.start(database)

    second, _ = factories.start(
        database, factories.request(first.job.process_number, webhook_url=HOOK)
    )

    assert second.job.job_id == first.job.job_id
    assert second.job.revision == first.job.revision + 1
    assert second.job.state == "PROCESSING"


def test_an_ended_job_is_not_joined(database: Database) -> None:
    wanted = factories.request()
    first = factories.listed_job(database, 0, wanted)

    second, is_new = factories.start(database, wanted)

    assert is_new
    assert second.job.job_id != first


def test_another_clients_case_is_another_job(database: Database) -> None:
    wanted = factories.request()
    mine, _ = factories.start(database, wanted)

    theirs, is_new = factories.start(database, replace(wanted, client="another"))

    assert is_new
    assert theirs.job.job_id != mine.job.job_id
    with pytest.raises(NotFound):
        job_queries.get(database, CLIENT, theirs.job.job_id)


def test_a_join_in_the_moment_of_the_end_keeps_its_webhook(database: Database) -> None:
    ways: Counter[bool] = Counter()
    for _ in rounds(ways):
        # Given a job with its last document about to be stored
        wanted = factories.request(webhook_url=HOOK)
        job_id = factories.listed_job(database, 1, wanted)
        file = factories.upload(database, factories.claimed(database, job_id))
        joining = replace(wanted, webhook_url=f"{HOOK}/2")

        # When another caller joins in that moment
        calls = [_stored_and_shown(database, file, joining), _start(database, joining)]
        _, (view, is_new) = run_concurrently(calls)

        # Then the caller gets the event of this end, or waits for the end of a new job
        urls = {w["url"]: w["state"] for w in factories.webhooks(database, view.job.job_id)}
        if is_new:
            assert urls == {f"{HOOK}/2": "WAITING"}
        else:
            assert urls == {HOOK: "PENDING", f"{HOOK}/2": "PENDING"}
            assert view.job.job_id == job_id
        ways[is_new] += 1
    assert len(ways) == 2, "the race never went both ways, so it proved nothing"


def _stored_and_shown(
    database: Database, file: CheckedFile, wanted: StartRequest
) -> Callable[[], tuple[JobView, bool]]:
    def store() -> tuple[JobView, bool]:
        factories.stored(database, file)
        return job_queries.newest(database, CLIENT, wanted.process_number), False

    return store


# Request ids.


def test_a_request_id_gives_its_job_even_after_the_end(database: Database) -> None:
    wanted = factories.request(request_id=uuid4())
    job_id = factories.listed_job(database, 0, wanted)

    view, is_new = factories.start(database, wanted)

    assert (view.job.job_id, view.job.state, is_new) == (job_id, "COMPLETED", False)


def test_a_join_is_remembered_under_its_request_id(database: Database) -> None:
    first = factories.request()
    job_id = factories.listed_job(database, 0, first)
    running, _ = factories.start(database, first)
    joining = replace(first, request_id=uuid4())
    assert factories.start(database, joining) == (running, False)
    job_queries.cancel(database, CLIENT, running.job.job_id)

    view, is_new = factories.start(database, joining)

    assert view.job.job_id == running.job.job_id != job_id
    assert not is_new


@pytest.mark.parametrize(
    "other",
    [
        {"process_number": "0000000-00.2025.8.26.0100"},
        {"webhook_url": f"{HOOK}/2"},
        {"webhook_url": None},
        {"given_max_age_s": 1.0},
        {"given_max_age_s": 0.0},
        {"priority": Priority.BULK},
    ],
)
def test_other_values_under_a_request_id_are_refused(
    database: Database, other: dict[str, object]
) -> None:
    wanted = factories.request(request_id=uuid4(), webhook_url=HOOK)
    view, _ = factories.start(database, wanted)

    with pytest.raises(RequestIdReused) as caught:
        factories.start(database, replace(wanted, **other))  # type: ignore[arg-type]

    assert [v.field for v in caught.value.violations] == ["request_id"]
    assert job_queries.get(database, CLIENT, view.job.job_id) == view
    assert len(job_queries.page(database, JobFilter(CLIENT), 10)[0]) == 1


def test_the_default_age_may_change_between_two_calls_of_a_request(database: Database) -> None:
    wanted = factories.request(request_id=uuid4())
    view, _ = factories.start(database, wanted)

    again, is_new = factories.start(database, replace(wanted, max_age_s=7))

    assert (again, is_new) == (view, False)


def test_two_cases_racing_for_a_request_id_leave_one_job(database: Database) -> None:
    for _ in range(20):
        request_id = uuid4()
        calls = [partial(_outcome, database, factories.request(request_id=request_id))] * 1
        calls += [partial(_outcome, database, factories.request(request_id=request_id))]

        outcomes = run_concurrently(calls)

        assert Counter(outcomes) == {"created": 1, "refused": 1}
    assert len(job_queries.page(database, JobFilter(CLIENT), 100)[0]) == 20


def _outcome(database: Database, wanted: StartRequest) -> str:
    try:
        _, is_new = factories.start(database, wanted)
    except RequestIdReused:
        return "refused"
    return "created" if is_new else "joined"


def test_two_clients_may_choose_the_same_request_id(database: Database) -> None:
    wanted = factories.request(request_id=uuid4())
    factories.start(database, wanted)

    _, is_new = factories.start(database, replace(wanted, client="another"))

    assert is_new


# Listing.


def test_a_listing_is_claimed_once(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=HOOK))
    claim = partial(factories.claim_listing, database, view.job.job_id, lease_s=60)

    claimed = run_concurrently([claim] * 10)

    assert sum(found is not None for found in claimed) == 1
    job = factories.job(database, view.job.job_id)
    assert (job["state"], job["start_time"] is None) == ("PROCESSING", False)


def test_the_listing_gives_all_documents_at_once_or_none(database: Database) -> None:
    # Given a listing import with a last document that cannot be inserted
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)
    case = factories.listing(50)
    broken = factories.listing_import(
        claim.process_number, CaseListing(0, (*case.documents, case.documents[0]))
    )

    # When the transaction fails
    with pytest.raises(peewee.IntegrityError):
        listing_record.record(database, claim, broken)

    # Then none of its rows exist, and the same claim may still record the whole listing
    assert factories.documents(database, view.job.job_id) == []
    assert factories.job(database, view.job.job_id)["total_documents"] is None
    whole = factories.listing_import(claim.process_number, case)
    assert listing_record.record(database, claim, whole).to_fetch == 50


def test_a_connection_cut_in_the_listing_leaves_nothing(database: Database) -> None:
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)

    with (  # noqa: PT012 - the transaction is the point
        pytest.raises(ServiceUnavailable),
        database.transaction() as transaction,
    ):
        docket = factories.listing_import(claim.process_number, factories.listing(9))
        transaction.only(
            sql.function("record_listing").call,
            job_id=claim.job_id,
            lease=claim.lease,
            listing=ImportRows.of(docket).as_json,
            answer=None,
            content=None,
        )
        pid = transaction.only("SELECT pg_backend_pid() AS pid")["pid"]
        run_concurrently(
            [partial(factories.execute, database, "SELECT pg_terminate_backend(%(p)s)", p=pid)]
        )
        transaction.one("SELECT")

    assert factories.documents(database, view.job.job_id) == []
    assert factories.job(database, view.job.job_id)["total_documents"] is None


def test_a_second_listing_of_the_same_claim_changes_nothing(database: Database) -> None:
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)
    docket = factories.listing_import(claim.process_number, factories.listing(3))
    listing_record.record(database, claim, docket)
    before = factories.job(database, view.job.job_id)

    # If the answer of its COMMIT was lost, repeating the call is no error.
    assert listing_record.record(database, claim, docket).to_fetch == 3
    for stale in (
        partial(attempts.fail_attempt, database, claim, UNKNOWN, POLICY),
        partial(attempts.give_back, database, claim),
    ):
        with pytest.raises(LeaseLost):
            stale()

    assert renew_leases(database, [claim.lease], lease_s=60) == set()
    assert factories.job(database, view.job.job_id) == before
    assert factories.claim_listing(database, view.job.job_id, lease_s=60) is None


def test_a_cancelled_job_takes_no_listing(database: Database) -> None:
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)
    job_queries.cancel(database, CLIENT, view.job.job_id)

    other = factories.listing_import(claim.process_number, factories.listing(1))
    with pytest.raises(LeaseLost):
        listing_record.record(database, claim, other)

    assert factories.documents(database, view.job.job_id) == []
    assert factories.job(database, view.job.job_id)["state"] == "CANCELLED"


def test_a_case_without_documents_is_complete(database: Database) -> None:
    job_id = factories.listed_job(database, 0, factories.request(webhook_url=HOOK))

    job = factories.job(database, job_id)
    assert (job["state"], job["total_documents"]) == ("COMPLETED", 0)
    (event,) = factories.events(database, job_id)
    assert (event["type"], event["documents"]) == ("download.completed", [])


def test_an_unknown_case_fails_the_job(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=HOOK))
    claim = factories.listing_claim(database, view.job.job_id)

    assert attempts.fail_attempt(database, claim, UNKNOWN, POLICY).job_has_ended

    job = factories.job(database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "NOT_FOUND")
    assert job["total_documents"] is None
    (event,) = factories.events(database, view.job.job_id)
    assert event["type"] == "download.failed"


def test_a_listing_is_tried_up_to_the_policy_and_no_more(database: Database) -> None:
    view, _ = factories.start(database)

    delays = [
        attempts.fail_attempt(
            database, factories.listing_claim(database, view.job.job_id), BUSY, POLICY
        ).delay_s
        for _ in range(POLICY.attempts)
    ]

    assert delays == [0, 0, 0, 0, None]
    assert factories.job(database, view.job.job_id)["error_reason"] == BUSY.reason


def test_429_and_giving_back_count_no_attempt_of_a_listing(database: Database) -> None:
    view, _ = factories.start(database)
    too_fast = TooFast("slow down", retry_after_s=7)

    for _ in range(2 * POLICY.attempts):
        claim = factories.listing_claim(database, view.job.job_id)
        delay_s = attempts.fail_attempt(database, claim, too_fast, POLICY).delay_s
        assert delay_s is not None
        assert 6 <= delay_s <= 7.7
        refusal = claim_any(database, CLAIM_CONTEXT)
        assert isinstance(refusal, ClaimRefusal)
        assert refusal.reason == "PAUSED", "a request may begin while the portal pauses"
        factories.age_portal(database, 9)
        attempts.give_back(database, factories.listing_claim(database, view.job.job_id))
        # Its slots become free a moment later, and the slow start allows no others.
        factories.age_portal(database, 2)

    job = factories.job(database, view.job.job_id)
    assert (job["state"], job["listing_attempt_count"], job["listing_lost_count"]) == (
        *("PROCESSING", 0),
        0,
    )


def test_the_fifth_lost_lease_of_a_listing_fails_the_job(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=HOOK))
    for _ in range(LOST_LEASES):
        factories.listing_claim(database, view.job.job_id, lease_s=-1)

    assert claim_any(database, CLAIM_CONTEXT) == EndedJob(view.job.job_id, (0,))

    job = factories.job(database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "WORKER_LOST")
    assert len(factories.events(database, view.job.job_id)) == 1


def test_a_kept_listing_is_not_taken_by_another(database: Database) -> None:
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id, lease_s=-1)

    assert renew_leases(database, [claim.lease, uuid4()], lease_s=60) == {claim.lease}

    assert factories.claim_listing(database, view.job.job_id, lease_s=60) is None


# Objects that are stored already.


def _stored_case(
    database: Database, objects: Objects, folder: Path, documents: int
) -> tuple[str, UUID]:
    """Return the number and the job of a case with every document in the bucket."""
    wanted = factories.request()
    job_id = factories.listed_job(database, documents, wanted)
    for index in range(documents):
        data = f"{job_id} {index}".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        content = CheckedContent(len(data), sha256, "application/pdf", "pdf")
        file = factories.upload(database, factories.claimed(database, job_id), content=content)
        path = folder / str(index)
        path.write_bytes(data)
        key = object_key(CLIENT, wanted.process_number, file.document_id, sha256, "pdf")
        objects.put(Upload(path, key, len(data), sha256, "application/pdf", file.name))
        factories.stored(database, file, key)
    return wanted.process_number, job_id


def _relisted(
    database: Database, objects: Objects, number: str, case: CaseListing
) -> tuple[JobView, ListingImport]:
    docket = listing_cache.with_stored(database, objects, factories.listing_import(number, case))
    view, is_new = factories.start(database, factories.request(number, webhook_url=HOOK))
    assert is_new
    listing_record.record(database, factories.listing_claim(database, view.job.job_id), docket)
    return job_queries.get(database, CLIENT, view.job.job_id), docket


def test_what_is_stored_is_carried_over(
    database: Database, objects: Objects, tmp_path: Path
) -> None:
    number, first = _stored_case(database, objects, tmp_path, 3)

    view, _ = _relisted(database, objects, number, factories.listing(3))

    assert view.job.state == "COMPLETED"
    assert view.job.reused_documents == view.job.completed_documents == 3
    old, new = (factories.documents(database, job_id) for job_id in (first, view.job.job_id))
    same = ("document_id", "object_key", "sha256", "size_bytes", "content_type", "extension")
    assert [[d[c] for c in same] for d in new] == [[d[c] for c in same] for d in old]
    assert {d["job_id"] for d in new} == {first}
    assert view.job.stored_bytes == sum(d["size_bytes"] for d in new)
    (hook,) = factories.webhooks(database, view.job.job_id)
    assert hook["state"] == "PENDING"


def test_a_recent_listing_ends_the_job_in_the_call_itself(
    database: Database, objects: Objects, tmp_path: Path
) -> None:
    number, _ = _stored_case(database, objects, tmp_path, 3)
    known = factories.recent_listing(database, number, max_age_s=60)
    assert known
    known = listing_cache.with_stored(database, objects, known)
    assert known.is_all_stored()

    view, is_new = factories.start(
        database, factories.request(number, webhook_url=HOOK, request_id=uuid4()), known
    )

    assert is_new
    assert (view.job.state, view.job.reused_documents) == ("COMPLETED", 3)
    assert [w.state for w in view.webhooks] == ["PENDING"]
    assert len(factories.events(database, view.job.job_id)) == 1


def test_the_age_of_a_listing_counts_from_the_portals_answer(
    database: Database, objects: Objects, tmp_path: Path
) -> None:
    number, job_id = _stored_case(database, objects, tmp_path, 1)
    factories.age(database, job_id, 100)
    known = factories.recent_listing(database, number, max_age_s=110)
    view, _ = factories.start(database, factories.request(number), known)

    assert factories.recent_listing(database, number, max_age_s=90) is None
    listed = factories.job(database, view.job.job_id)["listed_time"]
    assert listed == factories.job(database, job_id)["listed_time"]


def test_an_old_listing_or_none_or_a_long_one_is_not_reused(database: Database) -> None:
    wanted = factories.request()
    recent = partial(factories.recent_listing, database, wanted.process_number)
    assert recent(max_age_s=3_600) is None
    job_id = factories.listed_job(database, 3, wanted)
    factories.age(database, job_id, 100)

    assert recent(max_age_s=0) is None
    assert recent(max_age_s=99) is None
    assert recent(max_age_s=110, most=2) is None
    assert recent(max_age_s=110, most=3)


def test_the_newest_listing_counts(database: Database) -> None:
    wanted = factories.request()
    job_queries.cancel(database, CLIENT, factories.listed_job(database, 3, wanted))
    factories.listed_job(database, 4, wanted)

    docket = factories.recent_listing(database, wanted.process_number, max_age_s=60)

    assert docket
    assert len(docket.items) == 4


def test_a_document_of_another_size_is_fetched_again(
    database: Database, objects: Objects, tmp_path: Path
) -> None:
    number, first = _stored_case(database, objects, tmp_path, 3)
    sizes = [d["size_bytes"] for d in factories.documents(database, first)]
    case = CaseListing(
        0,
        (
            factories.listed(0, listed_size_bytes=sizes[0]),
            factories.listed(1, listed_size_bytes=sizes[1] + 1),
            factories.listed(2, listed_size_bytes=None),
        ),
    )

    view, _ = _relisted(database, objects, number, case)

    states = [d["state"] for d in factories.documents(database, view.job.job_id)]
    assert states == ["AVAILABLE", "PENDING", "AVAILABLE"]
    assert view.job.state == "PROCESSING"


def test_a_document_whose_object_is_gone_is_fetched_again(
    database: Database, objects: Objects, store: ObjectStore, tmp_path: Path
) -> None:
    number, first = _stored_case(database, objects, tmp_path, 2)
    gone, kept = factories.documents(database, first)
    store.client(store.endpoint_url).remove_object(store.bucket, gone["object_key"])

    view, _ = _relisted(database, objects, number, factories.listing(2))

    rows = factories.documents(database, view.job.job_id)
    assert [d["state"] for d in rows] == ["PENDING", "AVAILABLE"]
    assert rows[1]["object_key"] == kept["object_key"]


def test_what_failed_or_was_cancelled_is_tried_again(database: Database, objects: Objects) -> None:
    wanted = factories.request()
    job_id = factories.listed_job(database, 2, wanted)
    attempts.fail_attempt(database, factories.claimed(database, job_id), UNKNOWN, POLICY)
    job_queries.cancel(database, CLIENT, job_id)

    view, _ = _relisted(database, objects, wanted.process_number, factories.listing(2))

    assert view.job.completed_documents == 0
    states = [d["state"] for d in factories.documents(database, view.job.job_id)]
    assert states == ["PENDING", "PENDING"]


def test_another_clients_documents_are_not_reused(
    database: Database, objects: Objects, tmp_path: Path
) -> None:
    number, _ = _stored_case(database, objects, tmp_path, 1)

    theirs = listing_cache.with_stored(
        database, objects, ListingImport.of("another", number, factories.listing(1))
    )

    assert not theirs.is_all_stored()


def test_refused_links_fail_at_once_and_the_rest_goes_on(database: Database) -> None:
    case = CaseListing(
        0,
        (
            factories.listed(0, hrefs=(), refused_reason="UNTRUSTED_LINK"),
            factories.listed(1),
            factories.listed(2, hrefs=(), refused_reason="NO_LINK"),
        ),
    )

    job_id = factories.listed_job(database, case)

    rows = factories.documents(database, job_id)
    assert [d["error_reason"] for d in rows] == ["UNTRUSTED_LINK", None, "NO_LINK"]
    assert [d["state"] for d in rows] == ["FAILED", "PENDING", "FAILED"]
    assert factories.job(database, job_id)["failed_documents"] == 2
    factories.store_next(database, job_id)
    assert factories.job(database, job_id)["state"] == "PARTIALLY_COMPLETED"


def test_nothing_but_refused_links_fails_the_job(database: Database) -> None:
    case = CaseListing(
        0, tuple(factories.listed(i, hrefs=(), refused_reason="UNTRUSTED_LINK") for i in range(2))
    )

    job_id = factories.listed_job(database, case)

    job = factories.job(database, job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "NO_DOCUMENT_AVAILABLE")
    assert job["error_is_retryable"] is False
    assert "UNTRUSTED_LINK" in job["error_message"]


def test_a_reused_listing_remembers_what_was_refused_and_why(database: Database) -> None:
    wanted = factories.request()
    case = CaseListing(0, (factories.listed(0, hrefs=(), refused_reason="UNTRUSTED_LINK"),))
    factories.listed_job(database, case, wanted)
    known = factories.recent_listing(database, wanted.process_number, max_age_s=60)

    view, _ = factories.start(database, wanted, known)

    (row,) = factories.documents(database, view.job.job_id)
    assert (row["state"], row["error_reason"]) == ("FAILED", "UNTRUSTED_LINK")


# Reading.


def test_jobs_are_paged_newest_first_without_gaps(database: Database) -> None:
    made = [factories.start(database)[0].job for _ in range(5)]
    newest = list(reversed(made))

    first = job_queries.page(database, JobFilter(CLIENT), 2)[0]
    last = first[-1].job
    rest = job_queries.page(database, JobFilter(CLIENT, after=(last.create_time, last.job_id)), 9)[
        0
    ]

    assert [view.job for view in first + rest] == newest


def test_jobs_are_filtered_by_case_and_state(database: Database) -> None:
    wanted = factories.request()
    ended = factories.listed_job(database, 0, wanted)
    running, _ = factories.start(database, wanted)
    factories.start(database)

    def ids(**by: object) -> list[UUID]:
        found = job_queries.page(database, JobFilter(CLIENT, **by), 9)[0]  # type: ignore[arg-type]
        return [view.job.job_id for view in found]

    number = wanted.process_number
    assert ids(process_number=number) == [running.job.job_id, ended]
    assert ids(states=("COMPLETED", "FAILED")) == [ended]
    assert ids(process_number=number, states=("PROCESSING",)) == [running.job.job_id]
    assert job_queries.page(database, JobFilter("another"), 9)[0] == []


def test_the_newest_job_of_a_case_is_found_by_its_number(database: Database) -> None:
    wanted = factories.request()
    factories.listed_job(database, 0, wanted)
    second, _ = factories.start(database, wanted)

    assert job_queries.newest(database, CLIENT, wanted.process_number) == second
    with pytest.raises(NotFound):
        job_queries.newest(database, CLIENT, factories.process_number())


def test_documents_are_paged_in_the_order_of_the_case_file(database: Database) -> None:
    job_id = factories.listed_job(database, 5)
    factories.store_next(database, job_id)

    def positions(size: int = 9, **by: object) -> list[int]:
        wanted = DocumentFilter(job_id, **by)  # type: ignore[arg-type]
        return [d.position for d in document_queries.page(database, CLIENT, wanted, size)[0]]

    assert positions(2) == [0, 1]
    assert positions(after_position=1) == [2, 3, 4]
    assert positions(states=("AVAILABLE",)) == [0]
    assert positions(states=("PENDING", "AVAILABLE"), after_position=0) == [1, 2, 3, 4]
    assert positions(after_position=4) == []


def test_what_is_not_there_or_anothers_is_not_found(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    document_id = factories.documents(database, job_id)[0]["document_id"]

    assert document_queries.get(database, CLIENT, job_id, document_id)[0].document_id == document_id
    for missing in (
        partial(job_queries.get, database, CLIENT, uuid4()),
        partial(job_queries.get, database, "another", job_id),
        partial(job_queries.cancel, database, "another", job_id),
        partial(document_queries.get, database, CLIENT, job_id, uuid4()),
        partial(document_queries.get, database, CLIENT, uuid4(), document_id),
        partial(document_queries.get, database, "another", job_id, document_id),
        partial(document_queries.page, database, CLIENT, DocumentFilter(uuid4()), 9),
        partial(document_queries.page, database, "another", DocumentFilter(job_id), 9),
    ):
        with pytest.raises(NotFound):
            missing()
    assert factories.job(database, job_id)["state"] == "PROCESSING"


def test_a_database_that_is_away_is_unavailable_not_a_bug() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)

    with pytest.raises(ServiceUnavailable, match="PostgreSQL"):
        factories.start(nowhere)


def test_a_connection_that_was_cut_is_replaced(database_url: str, direct_url: str) -> None:
    one = Database(database_url, max_connections=1)
    with one.transaction() as transaction:
        pid = transaction.only("SELECT pg_backend_pid() AS pid")["pid"]
    with contextlib.closing(Database(direct_url, max_connections=1)) as other:
        factories.execute(other, "SELECT pg_terminate_backend(%(p)s)", p=pid)
        alive = "SELECT FROM pg_stat_activity WHERE pid = %(p)s"
        until(lambda: not factories.execute(other, alive, p=pid), 60, "the session does not end")

    # The call that finds the cut connection fails; then there is a new connection.
    with contextlib.suppress(ServiceUnavailable):
        factories.start(one)

    assert factories.start(one)[1]
    one.close()
