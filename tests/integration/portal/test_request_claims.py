"""Test the claim: what may begin at the portal, and which scope a refusal has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from storage.errors import LeaseLost
from storage.jobs import job_queries
from storage.listings.listed_case import CaseListing
from storage.portal import attempts
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import (
    ClaimContext,
    ClaimRefusal,
    CourtProbe,
    EndedJob,
    Slice,
    claim,
    claim_any,
)
from storage.portal.slots import Limits
from storage.postgres.database import Database
from tests.integration.harness import factories

COURT = "8.26"
LIMITS = Limits(at_once=10, per_court=6, lanes=5)
CONTEXT = ClaimContext(LIMITS, factories.LOGIN, ProbePolicy(), uuid4(), lease_s=60)
SMALL = 20_000


def context(**limits: Any) -> ClaimContext:
    """Return the context of a worker: the default limits, changed by `limits`."""
    return replace(CONTEXT, limits=replace(LIMITS, **limits))


def small_case(documents: int) -> CaseListing:
    """Return a case with small listed sizes only."""
    return CaseListing(
        0, tuple(factories.listed(i, listed_size_bytes=SMALL) for i in range(documents))
    )


def quick_court(database: Database) -> None:
    """Make the court answer in ten milliseconds on average."""
    factories.execute(
        database,
        "INSERT INTO courts (court, request_s, measured_requests) VALUES (%(court)s, 0.01, 100)",
        court=COURT,
    )


def begun(database: Database, job_id: UUID, wanted: int = 1, **limits: Any) -> Slice:
    """Return the slice of a claim that must be granted."""
    answer = claim(database, context(**limits), job_id, wanted)
    assert isinstance(answer, Slice), answer
    return answer


def refused(database: Database, job_id: UUID, **limits: Any) -> tuple[RefusedScope, str]:
    """Return scope and reason of a claim that must be refused without a change."""
    before = _state(database)
    answer = claim(database, context(**limits), job_id)
    assert isinstance(answer, ClaimRefusal), answer
    assert _state(database) == before
    return answer.scope, answer.reason


def _state(database: Database) -> list[list[dict[str, Any]]]:
    # Rows of free slots do not matter.
    tables = ("jobs", "documents", "slots WHERE lease IS NOT NULL", "portal", "courts")
    with database.transaction() as transaction:
        return [transaction.all(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]


def test_one_document_is_leased_with_a_slot_of_the_court_and_one_of_the_portal(
    database: Database,
) -> None:
    job_id = factories.listed_job(database, 3)

    slice_ = begun(database, job_id)

    (document,) = slice_.documents
    row = factories.documents(database, job_id)[0]
    assert (row["state"], row["lease"], row["slice"]) == (
        "DOWNLOADING",
        document.lease,
        slice_.token,
    )
    with database.transaction() as transaction:
        slots = transaction.all(
            "SELECT scope, job_id FROM slots WHERE lease = %(t)s", t=slice_.token
        )
    assert sorted((slot["scope"], slot["job_id"]) for slot in slots) == [
        ("", job_id),
        (COURT, job_id),
    ]
    assert slice_.has_more
    assert document.href == "/documentos/0"


def test_the_slice_in_the_last_free_lane_names_what_may_begin_after_it(database: Database) -> None:
    job_id = factories.listed_job(database, 3)

    slices = [begun(database, job_id, lanes=lanes) for lanes in (1, 2, 3)]

    assert [slice_.has_more for slice_ in slices] == [True, True, False]


def test_several_documents_only_at_a_quick_court_and_only_small_fresh_ones(
    database: Database,
) -> None:
    slow = factories.listed_job(database, small_case(9))
    assert len(begun(database, slow, 8).documents) == 1
    quick_court(database)
    quick = factories.listed_job(database, small_case(9))
    slower = factories.listed_job(database, small_case(9))
    unknown = factories.listed_job(database, 9)

    assert len(begun(database, quick, 8).documents) == 8
    assert len(begun(database, unknown, 8).documents) == 1
    # Together they are to take 0.2 s at most.
    factories.execute(database, "UPDATE courts SET request_s = 0.06")
    assert len(begun(database, slower, 8).documents) == 3


@pytest.mark.parametrize("count", [-3, 0, 10**12])
def test_a_claim_of_any_number_begins_at_least_one_document(database: Database, count: int) -> None:
    job_id = factories.listed_job(database, 1)
    again = "UPDATE documents SET not_before = clock_timestamp() - interval '1 second'"
    factories.execute(database, again)

    assert len(begun(database, job_id, count).documents) == 1


def test_a_slice_ends_before_the_first_large_document(database: Database) -> None:
    quick_court(database)
    sizes = [SMALL, SMALL, 2_000_000, SMALL]
    case = CaseListing(
        0, tuple(factories.listed(i, listed_size_bytes=size) for i, size in enumerate(sizes))
    )
    job_id = factories.listed_job(database, case)

    counts = [len(begun(database, job_id, 8).documents) for _ in range(3)]

    assert counts == [2, 1, 1]


def test_what_is_due_again_goes_first_and_alone(database: Database) -> None:
    quick_court(database)
    job_id = factories.listed_job(database, small_case(4))
    factories.execute(
        database,
        "UPDATE documents SET not_before = clock_timestamp() - interval '1 s' WHERE position = 2",
    )

    first, second = (begun(database, job_id, 8) for _ in range(2))

    assert [d.href for d in first.documents] == ["/documentos/2"]
    assert len(second.documents) == 3


def test_lanes_count_slices_and_spooled_documents(database: Database) -> None:
    quick_court(database)
    job_id = factories.listed_job(database, small_case(20))
    slice_ = begun(database, job_id, 4, lanes=2)
    assert len(slice_.documents) == 4
    factories.execute(
        database,
        "UPDATE documents SET state = 'DOWNLOADED', sha256 = repeat('0', 64), size_bytes = 1,"
        " content_type = 'x', extension = 'x', lease_until = NULL WHERE position = 0",
    )

    # One slice and one document in the spool.
    assert refused(database, job_id, lanes=2) == (RefusedScope.JOB, "LANES")
    begun(database, job_id, lanes=3)


@pytest.mark.parametrize(
    ("limits", "scope"),
    [({"per_court": 1}, RefusedScope.COURT), ({"at_once": 1}, RefusedScope.PORTAL)],
)
def test_a_full_court_and_a_full_portal_refuse(
    database: Database, limits: dict[str, int], scope: RefusedScope
) -> None:
    job_id = factories.listed_job(database, 3)
    begun(database, job_id, **limits)

    assert refused(database, job_id, **limits) == (scope, "FULL")


def test_a_slot_whose_lease_is_over_is_free(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    begun(database, job_id, per_court=1)
    factories.age_portal(database, 61)

    begun(database, job_id, per_court=1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "UPDATE portal SET paused_until = clock_timestamp() + interval '9 s'",
            (RefusedScope.PORTAL, "PAUSED"),
        ),
        (
            "INSERT INTO courts (court, failure_count, failing_since, next_probe_time) VALUES"
            f" ('{COURT}', 4, clock_timestamp(), clock_timestamp() + interval '9 s')",
            (RefusedScope.COURT, "AWAY"),
        ),
        (
            "INSERT INTO logins (login_key, refused_until, refused_fingerprint, refused_reason)"
            f" VALUES ('{factories.LOGIN.key}', clock_timestamp() + interval '9 s',"
            f" '{factories.LOGIN.fingerprint}', 'no')",
            (RefusedScope.PORTAL, "LOGIN_REFUSED"),
        ),
        (
            "INSERT INTO logins (login_key, failure_count, next_login_time)"
            f" VALUES ('{factories.LOGIN.key}', 1, clock_timestamp() + interval '9 s')",
            (RefusedScope.PORTAL, "LOGIN_AWAY"),
        ),
        (
            "UPDATE documents SET not_before = clock_timestamp() + interval '9 s'",
            (RefusedScope.JOB, "WAITING"),
        ),
    ],
)
def test_pause_breaker_login_and_waiting_documents_refuse_until_their_time(
    database: Database, change: str, expected: tuple[RefusedScope, str]
) -> None:
    job_id = factories.listed_job(database, 3)
    factories.execute(database, change)

    assert refused(database, job_id) == expected
    answer = claim(database, CONTEXT, job_id)
    assert isinstance(answer, ClaimRefusal)
    assert answer.until_time is not None
    assert answer.until_time - datetime.now(UTC) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("failures", "expires_in"),
    [(1, "9 s"), (0, "-9 s")],
    ids=["a token is left", "no login has failed"],
)
def test_a_login_that_is_due_later_stops_no_request_with_a_token(
    database: Database, failures: int, expires_in: str
) -> None:
    factories.execute(
        database,
        "INSERT INTO logins (login_key, failure_count, next_login_time, access_token,"
        " access_refresh_time, access_expires_time)"
        f" VALUES ('{factories.LOGIN.key}', {failures}, clock_timestamp() + interval '9 s', 'x',"
        f" clock_timestamp(), clock_timestamp() + interval '{expires_in}')",
    )
    assert begun(database, factories.listed_job(database, 3))


def test_a_slow_start_counts_what_is_at_the_portal(database: Database) -> None:
    jobs = [factories.listed_job(database, 3) for _ in range(3)]
    begun(database, jobs[0])
    factories.execute(database, "UPDATE portal SET eased = 2, eased_fast_to = 2, eased_to = 10")
    begun(database, jobs[1])

    assert refused(database, jobs[2]) == (RefusedScope.PORTAL, "FULL")


def test_a_rate_reserves_each_request_and_refuses_what_is_too_far_ahead(
    database: Database,
) -> None:
    quick_court(database)
    job_id = factories.listed_job(database, small_case(30))
    ahead = "UPDATE portal SET next_request_time = clock_timestamp() + %(s)s * interval '1 second'"
    factories.execute(database, ahead, s=-1)

    with database.transaction() as transaction:
        before = transaction.only("SELECT clock_timestamp() AS now")["now"]

    # Of ten a second, three begin within a quarter of a second.
    slice_ = begun(database, job_id, 8, per_minute=600)

    assert len(slice_.documents) == 3
    assert slice_.every_s == pytest.approx(0.1)
    assert slice_.begins_in_s == 0
    with database.transaction() as transaction:
        reserved = transaction.only("SELECT next_request_time FROM portal")["next_request_time"]
    assert reserved - before >= timedelta(seconds=0.3)
    factories.execute(database, ahead, s=60)
    assert refused(database, job_id, per_minute=600) == (RefusedScope.PORTAL, "RATE")


def test_a_court_that_is_away_gets_one_probe_when_it_is_due(database: Database) -> None:
    jobs = [factories.listed_job(database, 3) for _ in range(2)]
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time) VALUES"
        f" ('{COURT}', 4, clock_timestamp(), clock_timestamp() - interval '1 s')",
    )

    assert len(begun(database, jobs[0], 8).documents) == 1
    assert refused(database, jobs[1]) == (RefusedScope.COURT, "AWAY")


def test_a_court_that_is_away_for_long_is_probed_by_a_listing(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time) VALUES"
        f" ('{COURT}', 9, clock_timestamp() - interval '1 h', clock_timestamp())",
    )

    answer = claim(database, CONTEXT, job_id)

    assert isinstance(answer, CourtProbe)
    assert {row["state"] for row in factories.documents(database, job_id)} == {"PENDING"}


def test_a_listing_is_claimed_once_and_one_of_a_case_at_a_time(database: Database) -> None:
    number = factories.process_number()
    mine, _ = factories.start(database, factories.request(number, max_age_s=0))
    others, _ = factories.start(database, factories.request(number, client="other", max_age_s=0))

    answer = claim(database, CONTEXT, mine.job.job_id)

    assert isinstance(answer, ListingClaim)
    assert answer.listed_by is None
    assert refused(database, mine.job.job_id) == (RefusedScope.JOB, "WAITING")
    assert refused(database, others.job.job_id) == (RefusedScope.CASE, "BUSY")


def _taken(database: Database, token: UUID) -> int:
    with database.transaction() as transaction:
        return len(transaction.all("SELECT FROM slots WHERE lease = %(t)s", t=token))


def test_an_earlier_listing_of_the_same_client_serves_without_a_slot(database: Database) -> None:
    number = factories.process_number()
    source = factories.listed_job(database, 2, factories.request(number, max_age_s=0))
    job_queries.cancel(database, factories.CLIENT, source)
    waiting, _ = factories.start(database, factories.request(number, max_age_s=60))
    factories.execute(
        database, "UPDATE portal SET paused_until = clock_timestamp() + interval '1 hour'"
    )

    answer = claim(database, CONTEXT, waiting.job.job_id)

    assert isinstance(answer, ListingClaim)
    assert (answer.listed_by, answer.usual_s) == (source, 0)
    assert _taken(database, answer.lease) == 0


def _waits_for_another(database: Database) -> tuple[UUID, UUID]:
    """A job, and the job of another client whose listing serves it."""
    number = factories.process_number()
    waiting, _ = factories.start(database, factories.request(number, client="other", max_age_s=0))
    source = factories.listed_job(database, 2, factories.request(number, max_age_s=0))
    return waiting.job.job_id, source


def test_the_listing_of_another_client_is_copied_like_a_request(database: Database) -> None:
    waiting, source = _waits_for_another(database)
    quick_court(database)
    factories.execute(database, "UPDATE courts SET request_s = 3")

    answer = claim(database, CONTEXT, waiting)

    assert isinstance(answer, ListingClaim)
    assert (answer.listed_by, answer.usual_s) == (source, 3)
    assert _taken(database, answer.lease) == 2
    with pytest.raises(LeaseLost):
        attempts.doubt(database, replace(answer, lease=uuid4()), delay_s=0)
    attempts.doubt(database, answer, delay_s=0)
    assert _taken(database, answer.lease) == 0


def test_what_holds_requests_holds_the_copy_of_another_clients_listing(database: Database) -> None:
    waiting, _ = _waits_for_another(database)
    pause = "UPDATE portal SET paused_until = clock_timestamp() + interval '1 hour'"
    factories.execute(database, pause)
    assert refused(database, waiting) == (RefusedScope.PORTAL, "PAUSED")
    factories.execute(database, "UPDATE portal SET paused_until = '-infinity'")
    quick_court(database)
    others = [factories.listed_job(database, 2) for _ in range(2)]
    for each in others:
        begun(database, each, at_once=2)
    assert refused(database, waiting, at_once=2) == (RefusedScope.PORTAL, "FULL")


def test_a_court_that_is_away_is_probed_by_a_request_not_by_a_copy(database: Database) -> None:
    waiting, _ = _waits_for_another(database)
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time) VALUES"
        f" ('{COURT}', 9, clock_timestamp(), clock_timestamp() - interval '1 s')"
        " ON CONFLICT (court) DO UPDATE SET failure_count = excluded.failure_count,"
        " failing_since = excluded.failing_since, next_probe_time = excluded.next_probe_time",
    )

    answer = claim(database, CONTEXT, waiting)

    assert isinstance(answer, ListingClaim)
    assert answer.listed_by is None


def test_a_sealed_listing_does_not_serve_another_client(database: Database) -> None:
    number = factories.process_number()
    waiting, _ = factories.start(database, factories.request(number, client="other", max_age_s=0))
    sealed = CaseListing(
        0, (factories.listed(0), factories.listed(1, secrecy_level="SIGILO_MEDIO"))
    )
    factories.listed_job(database, sealed, factories.request(number, max_age_s=0))

    answer = claim(database, CONTEXT, waiting.job.job_id)

    assert isinstance(answer, ListingClaim)
    assert answer.listed_by is None


def test_a_listing_that_lost_too_many_workers_ends_its_job(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=factories.HOOK))
    job_id = view.job.job_id
    for _ in range(5):
        answer = claim(database, CONTEXT, job_id)
        assert isinstance(answer, ListingClaim)
        factories.age(database, job_id, 61)
        factories.age_portal(database, 61)

    answer = claim(database, CONTEXT, job_id)

    assert answer == EndedJob(job_id, (0,))
    assert factories.job(database, job_id)["error_reason"] == "WORKER_LOST"


def test_an_ended_and_an_unknown_job_are_refused_for_good(database: Database) -> None:
    view, _ = factories.start(database)
    factories.execute(database, "DELETE FROM jobs")

    assert refused(database, view.job.job_id) == (RefusedScope.JOB, "ENDED")


def test_a_job_whose_row_another_transaction_holds_is_busy(
    database: Database, database_url: str
) -> None:
    job_id = factories.listed_job(database, 3)
    other = Database(database_url, max_connections=1)
    with other.transaction() as transaction:
        transaction.all("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)
        answer = claim(database, CONTEXT, job_id)
    other.close()

    assert isinstance(answer, ClaimRefusal)
    assert (answer.scope, answer.reason) == (RefusedScope.JOB, "BUSY")


def _lead(seconds: float) -> str:
    return (
        "UPDATE leader SET holder = gen_random_uuid(),"
        " lease_until = clock_timestamp() + interval '60 s',"
        f" sends_time = clock_timestamp() - interval '{seconds} s'"
    )


@pytest.mark.parametrize(("seconds", "is_refused"), [(0.0, True), (10.0, False)])
def test_without_a_scheduler_that_sends_any_job_may_begin(
    database: Database, seconds: float, is_refused: bool
) -> None:
    factories.listed_job(database, 3)
    factories.execute(database, _lead(seconds))

    answer = claim_any(database, CONTEXT)

    assert isinstance(answer, ClaimRefusal) == is_refused


def test_what_no_scheduler_proposes_is_taken_with_bulk_last(database: Database) -> None:
    bulk = factories.listed_job(database, 1, factories.request(priority="BULK"))
    normal = factories.listed_job(database, 1)

    assert [claim_any(database, CONTEXT).job_id for _ in range(2)] == [normal, bulk]
    assert isinstance(claim_any(database, CONTEXT), ClaimRefusal)


def test_a_job_that_cannot_begin_holds_up_no_other(database: Database) -> None:
    away = factories.listed_job(database, 3)
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time) VALUES"
        f" ('{COURT}', 4, clock_timestamp(), clock_timestamp() + interval '9 s')",
    )
    number = factories.process_number().replace(".8.26.", ".8.19.")
    well = factories.listed_job(database, 3, factories.request(number))

    answers = [claim_any(database, CONTEXT).job_id for _ in range(3)]

    assert answers == [well, well, well]
    assert away not in answers
