"""Test listings: concurrent jobs of a case share one, and vanished documents are reported."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from actors.hints.hints import JobWanted
from actors.pipeline.listing_step import LISTING_LIMIT_S
from dev.processes.deadline import until
from storage.errors import LeaseLost, PermanentError, ServiceUnavailable
from storage.jobs import job_queries
from storage.listings import listing_cache, listing_record
from storage.listings.listed_case import CaseListing, document_id
from storage.listings.listing_import import ListingImport
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.portal import attempts
from storage.portal.listing_claims import ListingClaim
from storage.portal.request_claims import CourtProbe
from storage.postgres.database import Database, Row
from storage.scheduling import scheduler_readings
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import BUSY, CLAIM_CONTEXT, CLIENT, POLICY
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.sandbox.court_cases.cases import CASES

CLIENTS = [f"client-{number}" for number in range(10)]
VANISHING = CASES["vanishing"].number
FLICKERING = CASES["flickering"].number
# The LIMIT in import_listing.sql.
VANISHED_IDS = 100


def _begun(database: Database, number: str, client: str = CLIENT, max_age_s: float = 0) -> UUID:
    wanted = factories.request(number, client=client, max_age_s=max_age_s)
    return factories.start(database, wanted)[0].job.job_id


def _claim(database: Database, job_id: UUID) -> ListingClaim | None:
    return factories.claim_listing(database, job_id, lease_s=60)


def _record(database: Database, claim: ListingClaim, documents: int) -> None:
    case = factories.listing(documents)
    docket = ListingImport.of(claim.client, claim.process_number, case)
    listing_record.record(database, claim, docket)


def _listed(
    database: Database, number: str, documents: int, client: str = CLIENT, max_age_s: float = 0
) -> UUID:
    """Return a job that requested its listing and was cancelled afterwards."""
    claim = factories.listing_claim(database, _begun(database, number, client, max_age_s))
    assert claim.listed_by is None
    _record(database, claim, documents)
    job_queries.cancel(database, client, claim.job_id)
    return claim.job_id


def _recent(database: Database, number: str, client: str = CLIENT) -> ListingImport | None:
    return factories.recent_listing(database, number, client, max_age_s=3_600)


# One request for all.


def test_starts_of_ten_clients_in_one_moment_are_one_request(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    begun = {client: pipeline.begin(number, client) for client in CLIENTS}

    # The portal is so slow that they would all be there together.
    pipeline.sandbox.latency_s = 0.5
    run_concurrently([partial(pipeline.list_job, job_id) for job_id in begun.values()])
    pipeline.sandbox.latency_s = 0
    pipeline.work()

    assert pipeline.sandbox.request_count(number) == 1
    ended = [factories.job(pipeline.database, job_id) for job_id in begun.values()]
    assert Counter(job["state"] for job in ended) == {"COMPLETED": len(CLIENTS)}
    assert len({job["listed_time"] for job in ended}) == 1
    # Each client stores its own copy.
    keys = {
        client: [d["object_key"] for d in factories.documents(pipeline.database, job_id)]
        for client, job_id in begun.items()
    }
    assert len(set(chain.from_iterable(keys.values()))) == 2 * len(CLIENTS)
    assert all(key.startswith(f"{client}/") for client in keys for key in keys[client])
    assert pipeline.requested_files(number) == [len(CLIENTS)] * 2


def test_while_a_case_is_being_listed_no_other_job_requests_it(database: Database) -> None:
    number = factories.process_number()
    first, second = (_begun(database, number, client) for client in CLIENTS[:2])
    factories.listing_claim(database, first)
    before = factories.job(database, second)

    assert _claim(database, second) is None

    assert factories.job(database, second) == before


def test_another_case_is_not_waited_for(database: Database) -> None:
    factories.listing_claim(database, _begun(database, factories.process_number()))

    assert _claim(database, _begun(database, factories.process_number(), CLIENTS[1]))


def test_a_job_that_waits_for_a_listing_delays_no_other(database: Database) -> None:
    number, other = factories.process_number(), factories.process_number()
    case = {_begun(database, number, client) for client in CLIENTS[:2]}
    alone = _begun(database, other, CLIENTS[1])

    granted = [scheduler_driver.ask(database, CLAIM_CONTEXT) for _ in range(3)]

    found = {claim.job_id for claim in granted if isinstance(claim, ListingClaim)}
    assert granted[-1] is None
    assert alone in found
    assert len(found & case) == 1


def test_claims_in_one_moment_begin_one_request(database: Database) -> None:
    for _ in range(10):
        number = factories.process_number()
        begun = [_begun(database, number, client) for client in CLIENTS]

        found = run_concurrently([partial(_claim, database, job_id) for job_id in begun])

        assert sum(claim is not None for claim in found) == 1


def test_jobs_from_before_the_answer_share_it_and_later_jobs_request_anew(
    database: Database,
) -> None:
    number = factories.process_number()
    first, waiting = (_begun(database, number, client) for client in CLIENTS[:2])
    claim = factories.listing_claim(database, first)
    _record(database, claim, 3)
    late = _begun(database, number, CLIENTS[2])

    assert factories.listing_claim(database, waiting).listed_by == first
    assert factories.listing_claim(database, late).listed_by is None


def test_a_claim_in_the_moment_of_the_answer_requests_nothing(database: Database) -> None:
    taken = 0
    for _ in range(60):
        number = factories.process_number()
        first, second = (_begun(database, number, client) for client in CLIENTS[:2])
        claim = factories.listing_claim(database, first)
        found: list[ListingClaim | None] = []

        def claims(job_id: UUID = second, found: list[ListingClaim | None] = found) -> None:
            while not found or found[-1] is None:
                found.append(_claim(database, job_id))

        calls: list[Callable[[], None]] = [partial(_record, database, claim, 3), claims]
        run_concurrently(calls)

        assert found[-1]
        assert found[-1].listed_by == first
        taken += len(found) > 1
    assert taken, "no job ever had to wait, so it proved nothing"


def test_a_job_between_the_answer_and_its_record_requests_anew(database: Database) -> None:
    number = factories.process_number()
    claim = factories.listing_claim(database, _begun(database, number))
    answer = factories.listing_import(number, factories.listing(3))
    docket, _ = listing_cache.compared(database, CLIENT, number, answer)
    late = _begun(database, number, CLIENTS[1])

    listing_record.record(database, claim, docket)

    assert factories.listing_claim(database, late).listed_by is None


def test_an_older_listing_serves_its_own_client_only(database: Database) -> None:
    number = factories.process_number()
    first = _listed(database, number, 3)
    factories.age(database, first, 100)

    # Another client cannot find out by an answer that the case was listed lately.
    other = _begun(database, number, CLIENTS[1], max_age_s=1_000)
    assert factories.listing_claim(database, other).listed_by is None
    job_queries.cancel(database, CLIENTS[1], other)
    fresh = _begun(database, number, max_age_s=99)
    assert factories.listing_claim(database, fresh).listed_by is None
    job_queries.cancel(database, CLIENT, fresh)
    content = _begun(database, number, max_age_s=110)
    assert factories.listing_claim(database, content).listed_by == first


def test_reusing_a_listing_delays_no_other_job(database: Database) -> None:
    number = factories.process_number()
    _listed(database, number, 3)
    taker = _begun(database, number, max_age_s=60)
    asker = _begun(database, number, CLIENTS[2])

    assert factories.listing_claim(database, taker).listed_by
    assert factories.listing_claim(database, asker).listed_by is None


def test_a_listing_taken_over_is_the_other_clients_own(database: Database) -> None:
    number = factories.process_number()
    first = _listed(database, number, 3)

    docket = listing_cache.listing_of(database, CLIENTS[1], first)

    original = factories.documents(database, first)
    assert [e.document_id for e in docket.items] == [
        document_id(CLIENTS[1], number, row["instance"], row["origin_id"]) for row in original
    ]
    assert {e.document_id for e in docket.items}.isdisjoint(row["document_id"] for row in original)
    assert [e.listed.hrefs for e in docket.items] == [tuple(row["hrefs"]) for row in original]
    assert docket.listed_time == factories.job(database, first)["listed_time"]


def test_a_listing_that_was_taken_over_can_be_taken_over_again(database: Database) -> None:
    number = factories.process_number()
    first = _listed(database, number, 3)
    second, _ = factories.start(
        database,
        factories.request(number, client=CLIENTS[1]),
        listing_cache.listing_of(database, CLIENTS[1], first),
    )

    docket = listing_cache.listing_of(database, CLIENTS[2], second.job.job_id)

    assert [e.document_id for e in docket.items] == [
        document_id(CLIENTS[2], number, row["instance"], row["origin_id"])
        for row in factories.documents(database, second.job.job_id)
    ]


def test_of_equally_new_listings_the_clients_own_is_taken(database: Database) -> None:
    number = factories.process_number()
    begun = {client: _begun(database, number, client) for client in CLIENTS[:2]}
    first = factories.listing_claim(database, begun[CLIENTS[0]])
    _record(database, first, 3)
    copy = factories.listing_claim(database, begun[CLIENTS[1]])
    assert copy.listed_by == first.job_id
    listing = listing_cache.listing_of(database, CLIENTS[1], first.job_id)
    listing_record.record(database, copy, listing)
    for client, job_id in begun.items():
        job_queries.cancel(database, client, job_id)

    def source(client: str) -> UUID | None:
        job_id = _begun(database, number, client, max_age_s=60)
        return factories.listing_claim(database, job_id).listed_by

    assert {client: source(client) for client in begun} == begun


@pytest.mark.parametrize(
    "over",
    [
        pytest.param(
            lambda database, claim: attempts.fail_attempt(database, claim, BUSY, POLICY),
            id="an attempt failed",
        ),
        pytest.param(
            lambda database, claim: attempts.fail_attempt(
                database, claim, PermanentError("NOT_FOUND", "Unknown."), POLICY
            ),
            id="it failed for good",
        ),
        pytest.param(
            lambda database, claim: attempts.give_back(database, claim, delay_s=60),
            id="it was given back",
        ),
        pytest.param(
            lambda database, claim: attempts.doubt(database, claim, delay_s=60),
            id="it is in doubt",
        ),
        pytest.param(
            lambda database, claim: job_queries.cancel(database, claim.client, claim.job_id),
            id="it was cancelled",
        ),
        pytest.param(
            lambda database, claim: factories.age(database, claim.job_id, 61), id="it was lost"
        ),
    ],
)
def test_when_the_first_request_fails_the_next_job_requests(
    database: Database, over: Callable[[Database, ListingClaim], object]
) -> None:
    number = factories.process_number()
    first, second, third = (_begun(database, number, client) for client in CLIENTS[:3])
    pausing = _begun(database, number, CLIENTS[3])
    attempts.give_back(database, factories.listing_claim(database, pausing), delay_s=60)
    claim = factories.listing_claim(database, first)
    assert _claim(database, second) is None

    over(database, claim)

    rows = scheduler_readings.read_listed(database, first, number)
    assert {row["job_id"] for row in rows} - {first} == {second, third}
    assert factories.listing_claim(database, second).listed_by is None
    assert _claim(database, third) is None


def test_a_lost_listing_that_comes_back_waits_for_the_one_that_followed_it(
    database: Database,
) -> None:
    number = factories.process_number()
    lost, second = (_begun(database, number, client) for client in CLIENTS[:2])
    factories.listing_claim(database, lost, lease_s=-1)
    claim = factories.listing_claim(database, second)

    assert _claim(database, lost) is None
    _record(database, claim, 3)

    assert factories.listing_claim(database, lost).listed_by == second


def _wanted(pipeline: PipelineHarness) -> Counter[UUID]:
    """Return the jobs that were hinted to the scheduler, each with its count."""
    hints = (hint for hint in pipeline.hinted() if isinstance(hint, JobWanted))
    return Counter(hint.job.job_id for hint in hints)


def test_jobs_that_wait_for_an_answer_are_hinted_when_it_is_there(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    first, second, third = (pipeline.begin(number, client) for client in CLIENTS[:3])

    pipeline.list_job(first)

    assert _wanted(pipeline) == {first: 1, second: 1, third: 1}
    pipeline.list_job(second)
    assert _wanted(pipeline) == {second: 1}
    assert pipeline.sandbox.request_count(number) == 1


def test_jobs_that_wait_for_an_answer_are_hinted_when_there_is_none(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=2, list_fault="list-500")
    first, second = (pipeline.begin(number, client) for client in CLIENTS[:2])

    pipeline.list_job(first)

    assert _wanted(pipeline) == {first: 1, second: 1}


def test_a_retry_is_not_served_by_what_was_answered_before_it(
    database: Database, objects: Objects
) -> None:
    number = factories.process_number()
    failed = _begun(database, number)
    attempts.fail_attempt(
        database, factories.listing_claim(database, failed), PermanentError("R", "m"), POLICY
    )
    _listed(database, number, 3, CLIENTS[1])

    factories.rerun(database, objects, failed)

    assert factories.listing_claim(database, failed).listed_by is None


def test_a_bucket_that_is_away_costs_the_portal_nothing(
    pipeline: PipelineHarness, store: ObjectStore
) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    pipeline.run(number)
    begun = pipeline.begin(number)
    nowhere = Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=2)

    pipeline.with_lister(objects=nowhere).list_job(begun)

    assert pipeline.sandbox.request_count(number) == 1
    factories.execute(pipeline.database, "UPDATE jobs SET listing_not_before = NULL")
    pipeline.work()
    assert factories.job(pipeline.database, begun)["reused_documents"] == 2
    assert pipeline.sandbox.request_count(number) == 2


@pytest.mark.parametrize("at", [0, 1], ids=["before", "after"])
def test_a_silent_bucket_holds_no_slot_for_long(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("actors.pipeline.listing_step.LOOK_S", 0.2)
    number = pipeline.sandbox.add_case(documents=2)
    pipeline.run(number)
    begun = pipeline.begin(number)
    looks, real = list[float | None](), Objects.present

    def present(self: Objects, sizes: Any, *, limit_s: float | None = None) -> set[str]:
        looks.append(limit_s)
        if len(looks) == at + 1:
            raise ServiceUnavailable("S3")
        # A busy machine may need longer than the limit.
        return real(self, sizes)

    monkeypatch.setattr(Objects, "present", present)
    pipeline.list_job(begun)

    assert looks == [0.2, LISTING_LIMIT_S][: at + 1]
    assert factories.job(pipeline.database, begun)["listing_attempt_count"] == 0
    assert not _holds_slots(pipeline.database)


def _holds_slots(database: Database) -> bool:
    """Return True if slots are leased for longer than the moment after a cut request."""
    held = "SELECT FROM slots WHERE lease_until > clock_timestamp() + interval '2 seconds'"
    with database.autocommit() as transaction:
        return bool(transaction.all(held))


def test_a_slow_bucket_takes_nothing_of_the_portals_time(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.pipeline.listing_step.LISTING_LIMIT_S", 1.0)
    number = pipeline.sandbox.add_case(documents=2)
    pipeline.run(number)
    real = Objects.present

    def late(self: Objects, sizes: Any, **more: Any) -> set[str]:
        time.sleep(1.1)
        return real(self, sizes, **more)

    monkeypatch.setattr(Objects, "present", late)
    begun = pipeline.begin(number)
    pipeline.list_job(begun)

    job = factories.job(pipeline.database, begun)
    assert (job["state"], job["reused_documents"], job["listing_attempt_count"]) == (
        "COMPLETED",
        2,
        0,
    )
    assert pipeline.sandbox.request_count(number) == 2


# Vanished documents.


def test_vanished_documents_are_requested_once_more_and_then_reported(
    pipeline: PipelineHarness,
) -> None:
    first = pipeline.run(VANISHING)
    last = factories.documents(pipeline.database, first)[-1]

    with capture_logs() as logs:
        second = pipeline.run(VANISHING)

    assert pipeline.sandbox.request_count(VANISHING) == 3
    job = factories.job(pipeline.database, second)
    assert (job["state"], job["total_documents"], job["reused_documents"]) == ("COMPLETED", 4, 4)
    assert (job["vanished_documents"], job["vanished_document_ids"]) == (1, [last["document_id"]])
    assert job["listing_attempt_count"] == 0
    assert [
        (e["log_level"], e["documents"]) for e in logs if e["event"] == "documents vanished"
    ] == [("warning", 1)]
    assert last["name"] not in str(logs)
    # The earlier job keeps its stored documents.
    assert factories.documents(pipeline.database, first)[-1] == last
    assert last["object_key"]
    assert pipeline.requested_files(VANISHING) == [1] * 5


def test_a_listing_that_was_incomplete_once_is_not_taken(pipeline: PipelineHarness) -> None:
    pipeline.run(FLICKERING)

    second = pipeline.run(FLICKERING)

    assert pipeline.sandbox.request_count(FLICKERING) == 3
    job = factories.job(pipeline.database, second)
    assert (job["total_documents"], job["vanished_documents"]) == (5, 0)
    assert job["vanished_document_ids"] == []
    assert pipeline.requested_files(FLICKERING) == [1] * 5


def test_an_unchanged_case_is_requested_once_per_job(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    pipeline.run(number)

    job = factories.job(pipeline.database, pipeline.run(number))

    assert pipeline.sandbox.request_count(number) == 2
    assert (job["vanished_documents"], job["listing_doubt_time"]) == (0, None)


def test_vanished_documents_are_reported_once_and_not_against_themselves(
    pipeline: PipelineHarness,
) -> None:
    pipeline.run(VANISHING)
    pipeline.run(VANISHING)

    carried = factories.job(pipeline.database, pipeline.run(VANISHING, max_age_s=3_600))
    listed = factories.job(pipeline.database, pipeline.run(VANISHING))

    assert (carried["total_documents"], carried["vanished_documents"]) == (4, 0)
    assert (listed["total_documents"], listed["vanished_documents"]) == (4, 0)
    assert pipeline.sandbox.request_count(VANISHING) == 4


def test_a_retry_of_a_failed_listing_reports_vanished_documents(pipeline: PipelineHarness) -> None:
    database = pipeline.database
    pipeline.run(VANISHING)
    failed = pipeline.begin(VANISHING)
    claim = factories.listing_claim(database, failed)
    attempts.doubt(database, claim, delay_s=0)
    claim = factories.listing_claim(database, failed)
    assert claim.is_doubted
    attempts.fail_attempt(database, claim, PermanentError("R", "m"), POLICY)
    factories.rerun(database, pipeline.lister.objects, failed)

    pipeline.work()

    # A new run confirms the listing again.
    assert pipeline.sandbox.request_count(VANISHING) == 3
    assert factories.job(database, failed)["vanished_documents"] == 1


def test_another_clients_listing_that_lacks_documents_is_not_taken_silently(
    pipeline: PipelineHarness,
) -> None:
    database = pipeline.database
    mine = pipeline.run(VANISHING)
    begun = pipeline.begin(VANISHING)
    pipeline.list_job(pipeline.begin(VANISHING, CLIENTS[1]))
    assert pipeline.sandbox.request_count(VANISHING) == 2

    # The answer came after this client's request, and the worker requests the listing once more.
    pipeline.work()
    job = factories.job(database, begun)

    assert pipeline.sandbox.request_count(VANISHING) == 3
    gone = factories.documents(database, mine)[-1]["document_id"]
    assert (job["vanished_documents"], job["vanished_document_ids"]) == (1, [gone])


def test_a_doubt_about_anothers_listing_does_not_change_the_court(
    pipeline: PipelineHarness,
) -> None:
    database = pipeline.database
    pipeline.run(VANISHING)
    begun = pipeline.begin(VANISHING)
    pipeline.list_job(pipeline.begin(VANISHING, CLIENTS[1]))
    pipeline.hinted()
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since)"
        " VALUES (substr(%(number)s, 17, 4), 3, clock_timestamp())"
        " ON CONFLICT (court) DO UPDATE SET failure_count = excluded.failure_count,"
        " failing_since = excluded.failing_since",
        number=VANISHING,
    )
    before = _courts(database)

    pipeline.list_job(begun)

    assert factories.job(database, begun)["listing_doubt_time"]
    assert _courts(database) == before
    # and the listing is proposed once more.
    assert _wanted(pipeline)[begun] == 1


def _courts(database: Database) -> list[Row]:
    with database.transaction() as transaction:
        return transaction.all("SELECT * FROM courts ORDER BY court")


def test_a_listing_confirmed_by_two_requests_serves_all_waiting_jobs(
    pipeline: PipelineHarness,
) -> None:
    database = pipeline.database
    # Given three clients that have the whole case and start it again
    whole = [pipeline.begin(VANISHING, client) for client in CLIENTS[:3]]
    pipeline.work()
    assert {factories.job(database, job_id)["total_documents"] for job_id in whole} == {5}
    again = [pipeline.begin(VANISHING, client) for client in CLIENTS[:3]]

    # When the first has requested the listing twice
    for _ in range(2):
        pipeline.list_job(again[0])
    pipeline.sent()
    for job_id in again[1:]:
        pipeline.list_job(job_id)

    # Then the others reuse its listing or a copy of it, without a second request
    assert [factories.job(database, i)["vanished_documents"] for i in again] == [1, 1, 1]
    sources = [factories.job(database, i)["listed_by"] for i in again]
    assert sources == [None, again[0], again[1]]
    assert pipeline.sandbox.request_count(VANISHING) == 3


def test_so_many_ids_are_named_and_all_are_counted(database: Database) -> None:
    number = factories.process_number()
    first = _listed(database, number, VANISHED_IDS + 31)

    second = _listed(database, number, 1)

    job = factories.job(database, second)
    assert job["vanished_documents"] == VANISHED_IDS + 30
    ids = [d["document_id"] for d in factories.documents(database, first)]
    assert job["vanished_document_ids"] == ids[1 : VANISHED_IDS + 1]


def test_vanished_documents_are_compared_with_the_same_clients_listing(database: Database) -> None:
    number = factories.process_number()
    _listed(database, number, 5, CLIENTS[1])

    assert factories.job(database, _listed(database, number, 3))["vanished_documents"] == 0
    other = _listed(database, number, 3, CLIENTS[1])
    assert factories.job(database, other)["vanished_documents"] == 2


def test_a_cancelled_listing_is_cut_and_its_slots_are_free_soon(pipeline: PipelineHarness) -> None:
    # Given a listing that the portal delays for very long
    number = pipeline.sandbox.add_case(documents=2)
    job_id = pipeline.begin(number)
    pipeline.sandbox.latency_s = 200

    def cancel() -> None:
        until(lambda: pipeline.sandbox.request_count(number) == 1, 60, "it is not asked")
        job_queries.cancel(pipeline.database, CLIENT, job_id)

    # When its job is cancelled, then no worker waits for the answer
    calls: list[Callable[[], None]] = [partial(pipeline.list_job, job_id), cancel]
    run_concurrently(calls, timeout_s=60)

    assert not _holds_slots(pipeline.database)


def test_a_process_that_stops_gives_its_listing_back_uncounted(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    job_id = pipeline.begin(number)
    pipeline.sandbox.latency_s = 200

    def stop() -> None:
        until(lambda: pipeline.sandbox.request_count(number) == 1, 60, "it is not requested")
        pipeline.worker.renewer.stop_all()

    calls: list[Callable[[], None]] = [partial(pipeline.list_job, job_id), stop]
    run_concurrently(calls, timeout_s=60)

    claim = factories.listing_claim(pipeline.database, job_id)
    assert claim.listed_by is None
    job = factories.job(pipeline.database, job_id)
    assert (job["listing_attempt_count"], job["listing_lost_count"]) == (0, 0)


def test_a_listing_and_a_probe_wait_for_the_moment_that_the_rate_reserved(
    pipeline: PipelineHarness,
) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    claim = factories.listing_claim(pipeline.database, pipeline.begin(number))
    probe = CourtProbe(uuid4(), claim.job_id, claim.client, number, begins_in_s=1.0)

    for request in (
        partial(pipeline.lister.list_case, replace(claim, begins_in_s=1.0), proposal_id=None),
        partial(pipeline.worker.prober.probe, probe, proposal_id=None),
    ):
        begun = time.monotonic()
        request()
        assert time.monotonic() - begun >= 1.0
    assert pipeline.sandbox.request_count(number) == 2


# One request for each document.


def test_a_document_is_requested_under_one_link_when_that_works(pipeline: PipelineHarness) -> None:
    twins = CASES["twins"]

    job_id = pipeline.run(twins.number)

    documents = factories.documents(pipeline.database, job_id)
    assert {d["state"] for d in documents} == {"AVAILABLE"}
    files = [r for r in pipeline.sandbox.journal.requests(twins.number) if r.kind == "file"]
    answered = Counter(twins.by_uuid[r.uuid or ""].id_origem for r in files if r.status == 200)
    assert answered == {d["origin_id"]: 1 for d in documents}
    # and a second job right after the end asks for none.
    pipeline.run(twins.number)
    again = [r for r in pipeline.sandbox.journal.requests(twins.number) if r.kind == "file"]
    assert again == files


def test_a_file_that_is_in_the_spool_is_not_requested_again(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    pipeline.download(job_id)
    [(_, upload)] = [each for each in pipeline.sent() if each[0].startswith("upload.")]

    # However often lanes and uploads are recorded
    for _ in range(3):
        pipeline.download(job_id)
        pipeline.uploader.upload_document(*map(UUID, upload))
        pipeline.download(job_id)

    assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
    assert pipeline.requested_files(number) == [1]


def test_a_commit_whose_answer_was_lost_repeats_no_request(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    pipeline.download(job_id)
    [(_, upload)] = [each for each in pipeline.sent() if each[0].startswith("upload.")]
    file = factories.take_upload(pipeline.database, *map(UUID, upload), lease_s=-1)
    assert file

    # When both ends are recorded twice, the second time after the first commit
    pipeline.uploader.upload_document(*map(UUID, upload))
    with pytest.raises(LeaseLost):
        factories.stored(pipeline.database, file)
    pipeline.work()

    assert pipeline.requested_files(number) == [1]
    [document] = factories.documents(pipeline.database, job_id)
    assert document["state"] == "AVAILABLE"


def test_a_retry_requests_failed_documents_only(pipeline: PipelineHarness) -> None:
    number = pipeline.sandbox.add_case(documents=3, faults={1: "file-404"})
    job_id = pipeline.run(number)
    assert pipeline.requested_files(number) == [1, 1, 1]

    factories.rerun(pipeline.database, pipeline.lister.objects, job_id)
    pipeline.work()

    assert pipeline.requested_files(number) == [1, 2, 1]


def test_a_case_with_any_seal_is_each_clients_own(database: Database) -> None:
    number = factories.process_number()
    first, second = (_begun(database, number, client, 3_600) for client in CLIENTS[:2])
    claim = factories.listing_claim(database, first)
    documents = (factories.listed(0), factories.listed(1, secrecy_level="SEGREDO_JUSTICA"))
    case = CaseListing(0, documents)
    listing_record.record(database, claim, ListingImport.of(claim.client, number, case))

    theirs = factories.listing_claim(database, second)

    assert theirs.listed_by is None


def test_a_listing_from_before_a_denial_is_not_used_again(database: Database) -> None:
    number = factories.process_number()
    first = _listed(database, number, 3)
    assert _recent(database, number)
    waiting = _begun(database, number, max_age_s=3_600)

    claim = factories.listing_claim(database, _begun(database, number, CLIENTS[1]))
    no = PermanentError("NO_ACCESS", "The credentials give no access to this case or document.")
    attempts.fail_attempt(database, claim, no, POLICY)

    assert _recent(database, number) is None
    own = factories.listing_claim(database, waiting)
    assert own.listed_by is None
    # What is listed afterwards serves again.
    _record(database, own, 3)
    job_queries.cancel(database, CLIENT, waiting)
    later = factories.listing_claim(database, _begun(database, number, max_age_s=3_600))
    assert later.listed_by == own.job_id != first


def test_a_denial_while_a_listing_is_copied_has_the_portal_asked(database: Database) -> None:
    number = factories.process_number()
    _listed(database, number, 3)
    copy = factories.listing_claim(database, _begun(database, number, max_age_s=3_600))
    assert copy.listed_by
    claim = factories.listing_claim(database, _begun(database, number, CLIENTS[1]))
    attempts.fail_attempt(database, claim, PermanentError("NO_ACCESS", "No."), POLICY)

    with pytest.raises(LeaseLost):
        _record(database, copy, 3)

    assert factories.listing_claim(database, copy.job_id).listed_by is None


@pytest.mark.parametrize("reason", ["NOT_FOUND", "PORTAL_ERROR"])
def test_another_failure_is_no_denial(database: Database, reason: str) -> None:
    number = factories.process_number()
    _listed(database, number, 3)
    claim = factories.listing_claim(database, _begun(database, number, CLIENTS[1]))

    attempts.fail_attempt(database, claim, PermanentError(reason, "No."), POLICY)

    assert _recent(database, number)
