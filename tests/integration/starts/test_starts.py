"""Test that many StartDownloads in one transaction have the same results as one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage import sql
from storage.errors import RowsLocked
from storage.jobs import job_queries
from storage.jobs import job_start as starts
from storage.jobs.job_start import How, StartAnswer, StartAttempt, StartRequest
from storage.listings import listing_record
from storage.listings.listed_case import CaseListing
from storage.listings.listing_import import ListingImport, StoredObject
from storage.postgres.database import Database, Transaction
from storage.priorities import Priority
from storage.records import JobView
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT, HOOK

DEADLINE_S = 3_600


def _attempts(database: Database, *attempts: StartAttempt) -> list[StartAnswer]:
    return starts.start_jobs(database, attempts, job_deadline_s=DEADLINE_S)


def _answers(database: Database, *requests: StartRequest) -> list[StartAnswer]:
    return _attempts(database, *(StartAttempt(request) for request in requests))


def _how(answers: list[StartAnswer]) -> list[str]:
    return [answer.how.value for answer in answers]


def _views(answers: list[StartAnswer]) -> list[JobView]:
    return [answer.view for answer in answers if answer.view]


def _until_answered(database: Database, *requests: StartRequest) -> list[StartAnswer]:
    """Return the answers; repeat each request while its case is busy."""
    answers: dict[int, StartAnswer] = {}
    while left := [place for place in range(len(requests)) if place not in answers]:
        try:
            found = _answers(database, *(requests[place] for place in left))
        except RowsLocked:
            continue
        answers |= {p: a for p, a in zip(left, found, strict=True) if a.how is not How.BUSY}
    return [answers[place] for place in range(len(requests))]


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[Database]:
    """Yield the test's database as another process has it; its transactions stay open."""
    database = Database(database_url, max_connections=1)
    yield database
    database.close()


def _hold(transaction: Transaction, request: StartRequest) -> None:
    """Start the job of a request in a transaction that stays open."""
    transaction.all(
        sql.function("start_jobs").call,
        requests=starts.as_json([StartAttempt(request)], [uuid4()], {}),
        deadline_s=DEADLINE_S,
        most_documents=starts.MAX_DOCUMENTS_IN_CALL,
        most_webhooks=starts.MAX_WEBHOOKS,
        most_labels=starts.MOST_LABELS,
    )


def test_new_jobs_are_as_they_are_in_the_rows(database: Database) -> None:
    kinds = [
        factories.request(),
        factories.request(webhook_url="https://example.com/a"),
        factories.request(request_id=uuid4(), priority=Priority.HIGH),
        factories.request(
            client="another", max_age_s=0, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
        ),
        factories.request(webhook_url="https://example.com/b", priority=Priority.BULK),
    ]

    answers = _answers(database, *kinds)

    assert _how(answers) == ["new"] * 5
    for view, kind in zip(_views(answers), kinds, strict=True):
        assert view == job_queries.get(database, kind.client, view.job.job_id)
        row = factories.job(database, view.job.job_id)
        assert (row["state"], row["priority"], row["traceparent"], row["max_age_s"]) == (
            kind.first_state,
            kind.priority,
            kind.traceparent,
            kind.max_age_s,
        )
        assert (row["start_time"] is None) == (kind.webhook_url is not None)
        assert (row["deadline_time"] - row["create_time"]).total_seconds() == pytest.approx(
            DEADLINE_S, abs=1
        )


def test_each_request_is_answered_by_what_is_there(database: Database) -> None:
    running, known = factories.request(), factories.request(request_id=uuid4())
    job_id = factories.start(database, running)[0].job.job_id
    earlier_id = factories.start(database, known)[0].job.job_id
    listed = factories.process_number()
    listed_id = factories.listed_job(database, 1, factories.request(listed))
    factories.store_next(database, listed_id)

    answers = _answers(
        database,
        running,
        known,
        replace(known, process_number=factories.process_number()),
        factories.request(listed, max_age_s=3_600),
        factories.request(),
    )

    assert _how(answers) == ["joined", "earlier", "request_id_reused", "look", "new"]
    assert [view.job.job_id for view in _views(answers)[:2]] == [job_id, earlier_id]
    assert answers[3].recent == listed_id
    assert _how(_answers(database, factories.request(listed, max_age_s=0))) == ["new"]
    # The case is running now: the request joins it without a look-up of a listing.
    assert _how(_answers(database, factories.request(listed, max_age_s=3_600))) == ["joined"]


def test_a_long_listing_is_left_to_a_worker(database: Database) -> None:
    number = factories.process_number()
    job_id = factories.listed_job(
        database, starts.MAX_DOCUMENTS_IN_CALL + 1, factories.request(number)
    )
    job_queries.cancel(database, CLIENT, job_id)

    assert _how(_answers(database, factories.request(number))) == ["new"]


def test_a_case_or_a_request_that_comes_twice_at_once_gets_one_job(database: Database) -> None:
    number, request_id = factories.process_number(), uuid4()
    twice = [factories.request(number), factories.request(number)]
    again = [factories.request(request_id=request_id), factories.request(request_id=request_id)]

    # The same request_id for two cases is an error of one of the calls.
    answers = _answers(database, *twice, *again)
    assert _how(answers[:2]) == ["new", "joined"]
    assert sorted(_how(answers[2:])) == ["new", "request_id_reused"]

    same = factories.request(request_id=uuid4())
    assert _how(_answers(database, same, same)) == ["new", "earlier"]


def test_processes_that_start_the_same_cases_do_not_wait_for_each_other(database: Database) -> None:
    wanted = [factories.request() for _ in range(30)]
    orders = [random.Random(seed).sample(wanted, len(wanted)) for seed in range(6)]

    found = run_concurrently([partial(_until_answered, database, *order) for order in orders])

    made = [
        answer.view.job.process_number
        for answers in found
        for answer in answers
        if answer.how is How.NEW and answer.view
    ]
    assert sorted(made) == sorted(request.process_number for request in wanted)


def test_a_case_that_is_being_started_does_not_hold_up_the_others(
    database: Database, elsewhere: Database
) -> None:
    factories.start(database)
    busy, other = factories.request(), factories.request()

    with elsewhere.transaction() as transaction:
        _hold(transaction, busy)

        assert _how(_answers(database, busy, other)) == ["busy", "new"]

    assert _how(_answers(database, busy, other)) == ["joined", "joined"]


def test_a_job_that_is_worked_on_does_not_hold_up_the_others(
    database: Database, elsewhere: Database
) -> None:
    running, other = factories.request(), factories.request()
    job_id = factories.start(database, running)[0].job.job_id

    with elsewhere.transaction() as transaction:
        transaction.all("SELECT FROM jobs WHERE job_id = %(i)s FOR UPDATE", i=job_id)

        # Joining without a change takes no lock; a request_id, a webhook or a change takes one.
        assert _how(_answers(database, running, other)) == ["joined", "new"]
        for change in (
            {"webhook_url": HOOK},
            {"priority": Priority.HIGH},
            {"request_id": uuid4()},
        ):
            changing: Any = replace(running, **change)
            assert _how(_answers(database, changing, factories.request())) == ["busy", "new"]


def test_a_request_id_that_is_being_used_does_not_hold_up_the_others(
    database: Database, elsewhere: Database
) -> None:
    request_id = uuid4()
    first, second = (
        factories.request(request_id=request_id),
        factories.request(request_id=request_id),
    )
    factories.start(database)

    with elsewhere.transaction() as transaction:
        _hold(transaction, first)

        assert _how(_answers(database, second, factories.request())) == ["busy", "new"]


def test_a_client_with_locked_permits_does_not_delay_the_others(
    database: Database,
    elsewhere: Database,
) -> None:
    limited = factories.request(client="limited", jobs_at_once=5)

    with elsewhere.transaction() as transaction:
        transaction.all("SELECT pg_advisory_xact_lock(hashtextextended('seats limited', 0))")

        answers = _answers(
            database, limited, replace(limited, jobs_at_once=None), factories.request()
        )
        # A request alone in its transaction holds no lock that others could wait for.
        alone = _answers(database, factories.request(client="limited", jobs_at_once=5))

    assert _how(answers) == ["busy", "new", "new"]
    assert _how(alone) == ["new"]


def test_a_single_request_waits_for_its_case_and_fails_after_too_long(
    database: Database,
    elsewhere: Database,
) -> None:
    wanted = factories.request()

    with elsewhere.transaction() as transaction:
        _hold(transaction, wanted)
        with pytest.raises(RowsLocked):
            _answers(database, wanted)

    assert _how(_answers(database, wanted)) == ["joined"]


def test_a_request_id_that_a_retry_takes_meanwhile_is_an_answer_for_the_next_try(
    database: Database,
    elsewhere: Database,
) -> None:
    ended = factories.listed_job(database, 0)
    request = factories.request(request_id=uuid4())

    with elsewhere.transaction() as transaction:
        transaction.run(
            "INSERT INTO requests (client, request_id, payload_sha256, job_id)"
            " VALUES (%(client)s, %(request_id)s, 'RetryJob', %(job_id)s)",
            client=CLIENT,
            request_id=request.request_id,
            job_id=ended,
        )
        # The statement does not see the row and cannot write the key: the batch is rolled back.
        with pytest.raises(RowsLocked):
            _answers(database, request, factories.request())

    assert _how(_answers(database, request, factories.request())) == ["request_id_reused", "new"]


def test_no_more_jobs_than_a_client_may_have(database: Database) -> None:
    answers = _answers(database, *(factories.request(jobs_at_once=3) for _ in range(8)))

    assert sorted(_how(answers)) == ["new"] * 3 + ["no_seat"] * 5
    with database.transaction() as transaction:
        seats = transaction.all("SELECT seat FROM jobs WHERE end_time IS NULL")
    assert {row["seat"] for row in seats} == {1, 2, 3}


def test_a_join_at_the_limit_needs_no_permit(database: Database) -> None:
    running = factories.request(jobs_at_once=1)
    factories.start(database, running)

    assert _how(_answers(database, running, factories.request(jobs_at_once=1))) == [
        "joined",
        "no_seat",
    ]


def test_batches_of_a_client_do_not_wait_for_each_others_seats(database: Database) -> None:
    def start() -> list[StartAnswer]:
        wanted = [factories.request(jobs_at_once=200) for _ in range(40)]
        return _until_answered(database, *wanted)

    # A deadlock would be an error of one of them.
    found = run_concurrently([start] * 3)

    assert [answer.how for answers in found for answer in answers] == [How.NEW] * 120


def test_of_jobs_that_start_together_the_first_is_served_first(database: Database) -> None:
    answers = _answers(database, *(factories.request() for _ in range(12)))

    with database.transaction() as transaction:
        rows = transaction.all("SELECT job_id FROM jobs ORDER BY create_time")
    assert [row["job_id"] for row in rows] == [view.job.job_id for view in _views(answers)]


@pytest.mark.parametrize(
    ("before", "wanted", "raised"),
    [
        (Priority.NORMAL, Priority.HIGH, 1),
        (Priority.BULK, Priority.HIGH, 1),
        (Priority.BULK, Priority.NORMAL, 1),
        (Priority.HIGH, Priority.NORMAL, 0),
        (Priority.NORMAL, Priority.BULK, 0),
    ],
)
def test_a_join_raises_the_priority_and_never_lowers_it(
    database: Database, before: Priority, wanted: Priority, raised: int
) -> None:
    first = factories.request(priority=before)
    view, _ = factories.start(database, first)

    [answer] = _answers(database, replace(first, priority=wanted))

    assert answer.view
    job = factories.job(database, view.job.job_id)
    assert job["revision"] == view.job.revision + raised == answer.view.job.revision
    assert job["priority"] == (wanted if raised else before)


def test_a_join_raises_the_priority_and_adds_a_webhook_at_once(
    database: Database,
) -> None:
    first = factories.request()
    view, _ = factories.start(database, first)

    [answer] = _answers(database, replace(first, priority=Priority.HIGH, webhook_url=HOOK))

    assert answer.view
    assert answer.view.job.revision > view.job.revision
    assert answer.view.job.priority == "HIGH"
    assert [hook.url for hook in answer.view.webhooks] == [HOOK]


def _all_stored(number: str, client: str = CLIENT) -> ListingImport:
    """Return a public case of one document that the bucket holds."""
    listing = ListingImport.of(client, number, factories.listing(1))
    stored = StoredObject("some/key", 9, "0" * 64, "application/pdf", "pdf")
    return listing.with_reused_objects({item.document_id: stored for item in listing.items})


def test_a_stored_listing_ends_its_job_beside_others_that_begin(database: Database) -> None:
    number = factories.process_number()
    reusing = factories.request(number, webhook_url=HOOK, jobs_at_once=1)
    source = factories.listed_job(database, 1)

    answers = _attempts(
        database,
        StartAttempt(factories.request(jobs_at_once=1)),
        StartAttempt(reusing, _all_stored(number), source),
    )

    assert _how(answers) == ["new", "new"]
    job = _views(answers)[1].job
    assert (job.state, job.reused_documents) == ("COMPLETED", 1)
    assert [hook.state for hook in _views(answers)[1].webhooks] == ["PENDING"]
    assert len(factories.events(database, job.job_id)) == 1


def _sealed(database: Database, number: str, client: str) -> UUID:
    """Return a listed job of a case under seal."""
    view, _ = factories.start(database, factories.request(number, client=client))
    claim = factories.listing_claim(database, view.job.job_id)
    case = CaseListing(5, factories.listing(1).documents)
    listing_record.record(database, claim, ListingImport.of(client, number, case))
    return view.job.job_id


def test_a_listing_under_seal_serves_its_own_client_only(database: Database) -> None:
    number = factories.process_number()
    own = _sealed(database, number, CLIENT)
    job_queries.cancel(database, CLIENT, own)

    answers = _answers(
        database, factories.request(number), factories.request(number, client="another")
    )

    assert _how(answers) == ["look", "new"]


def test_a_recent_listing_serves_its_own_client_only(database: Database) -> None:
    number = factories.process_number()
    own = factories.listed_job(database, 1, factories.request(number))
    job_queries.cancel(database, CLIENT, own)

    answers = _answers(
        database, factories.request(number), factories.request(number, client="another")
    )

    assert _how(answers) == ["look", "new"]


def test_a_case_that_was_sealed_meanwhile_is_not_copied(database: Database) -> None:
    number = factories.process_number()
    source = factories.listed_job(database, 1, factories.request(number))
    factories.store_next(database, source)
    another_request = factories.request(number, client="another")
    _sealed(database, number, "a third")

    [theirs] = _attempts(
        database, StartAttempt(another_request, _all_stored(number, "another"), source)
    )
    [own] = _attempts(
        database, StartAttempt(factories.request(number), _all_stored(number), source)
    )

    assert theirs.view
    assert theirs.view.job.total_documents is None
    assert own.view
    assert own.view.job.is_ended
