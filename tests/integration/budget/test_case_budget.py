"""Test the budget of different cases: what a claim charges, who waits, and until when."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from storage.errors import LimitReached, PermanentError
from storage.portal import attempts, case_budget
from storage.portal.case_budget import DAY_S, MARGIN_S, MONTH_S, CaseBudget, CaseLimit
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import Claimed, ClaimRefusal, CourtProbe, Slice, claim, claim_any
from storage.postgres.database import Database
from storage.scheduling import reconciliation, scheduler_readings
from storage.scheduling.scheduler_readings import FIRST_KEY
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.scheduler_driver import number

COURT, OTHER_COURT = "8.26", "5.02"
KEY = b"k" * 32
TWO_A_DAY = CaseLimit(None, DAY_S, 2)


def budget(*limits: CaseLimit, keys: Sequence[bytes] = (KEY,)) -> CaseBudget:
    """Return a budget with these limits; two cases a day without any."""
    return CaseBudget(limits or (TWO_A_DAY,), tuple(keys))


def job(database: Database, court: str = COURT, *, case: str | None = None, **values: Any) -> UUID:
    """Return a new job, of a new case unless `case` is given. It always asks the portal."""
    case = case or number(int(factories.process_number()[:7]), court)
    view, _ = factories.start(database, factories.request(case, max_age_s=0, **values))
    return view.job.job_id


def ask(database: Database, job_id: UUID, of: CaseBudget) -> Claimed:
    """Claim the listing of a job; repeat it while another claim is checked."""
    context = replace(factories.CLAIM_CONTEXT, budget=of)
    while True:
        answer = claim(database, context, job_id)
        if not isinstance(answer, ClaimRefusal) or answer.reason not in {"BUSY", "FULL"}:
            return answer


def begins(database: Database, job_id: UUID, of: CaseBudget) -> bool:
    """Claim the listing of a job. Return whether its request may begin."""
    answer = ask(database, job_id, of)
    if isinstance(answer, ListingClaim):
        return True
    assert isinstance(answer, ClaimRefusal)
    assert answer.reason == "CASE_BUDGET"
    return False


def refused(database: Database, job_id: UUID, of: CaseBudget) -> ClaimRefusal:
    """Return the refusal of a claim that is over the budget."""
    answer = ask(database, job_id, of)
    assert isinstance(answer, ClaimRefusal)
    assert answer.reason == "CASE_BUDGET"
    return answer


def age_cases(database: Database, seconds: float, court: str = "") -> None:
    """Move the requests of all cases, or of those of a court, `seconds` into the past."""
    factories.execute(
        database,
        "UPDATE requested_cases SET request_time = request_time - %(s)s * interval '1 second'"
        " WHERE %(court)s IN ('', court)",
        s=seconds,
        court=court,
    )


def cases(database: Database) -> list[bytes]:
    """Return the HMACs of the requested cases."""
    with database.autocommit() as transaction:
        rows = transaction.all("SELECT case_hmac FROM requested_cases ORDER BY request_time")
    return [bytes(row["case_hmac"]) for row in rows]


def give_back(database: Database, job_id: UUID) -> None:
    """End the lease of a listing, so that the job may list again."""
    factories.execute(
        database,
        "UPDATE jobs SET listing_lease = NULL, listing_lease_until = NULL WHERE job_id = %(id)s",
        id=job_id,
    )


def test_the_case_after_the_last_place_waits_until_the_oldest_one_leaves_the_window(
    database: Database,
) -> None:
    first, second, third = (job(database) for _ in range(3))
    assert begins(database, first, budget())
    age_cases(database, 3_600)
    assert begins(database, second, budget())

    refusal = refused(database, third, budget())

    assert refusal.scope is RefusedScope.BUDGET
    assert refusal.until_time is not None
    left = refusal.until_time - datetime.now(UTC)
    assert timedelta(hours=22) < left < timedelta(hours=23, seconds=MARGIN_S)
    age_cases(database, left.total_seconds() - 60)
    assert not begins(database, third, budget())
    age_cases(database, 61)
    assert begins(database, third, budget())
    assert len(cases(database)) == 3


def test_a_case_is_free_within_its_window_and_counts_from_its_newest_request_on(
    database: Database,
) -> None:
    first, second, third = (job(database) for _ in range(3))
    for job_id in (first, second):
        assert begins(database, job_id, budget())
    age_cases(database, DAY_S - 3_600)

    give_back(database, first)
    assert begins(database, first, budget())
    assert len(cases(database)) == 2

    # The other one leaves; the one that was requested again stays a day longer.
    age_cases(database, 3_600 + MARGIN_S)
    assert begins(database, third, budget())
    assert not begins(database, job(database), budget())


def test_another_client_asks_for_a_requested_case_free_of_charge(database: Database) -> None:
    case = factories.process_number()
    first = job(database, case=case)
    assert begins(database, first, budget())
    assert begins(database, job(database), budget())
    give_back(database, first)

    assert begins(database, job(database, case=case, client="other"), budget())
    assert len(cases(database)) == 2


def test_both_windows_and_the_court_must_have_a_place(database: Database) -> None:
    limits = budget(
        CaseLimit(None, DAY_S, 3), CaseLimit(None, MONTH_S, 4), CaseLimit(OTHER_COURT, MONTH_S, 1)
    )
    assert begins(database, job(database, OTHER_COURT), limits)
    refusal = refused(database, job(database, OTHER_COURT), limits)
    assert (refusal.scope, refusal.court) == (RefusedScope.COURT_BUDGET, OTHER_COURT)

    assert begins(database, job(database), limits)
    assert begins(database, job(database), limits)
    assert refused(database, job(database), limits).scope is RefusedScope.BUDGET
    age_cases(database, DAY_S + MARGIN_S)
    waiting = job(database)
    # It joins those that wait already, and then takes the last place of the month.
    assert not begins(database, waiting, limits)
    assert begins(database, waiting, limits)
    assert not begins(database, waiting := job(database), limits)
    assert refused(database, waiting, limits).scope is RefusedScope.BUDGET
    age_cases(database, MONTH_S - DAY_S)
    assert begins(database, waiting, limits)


def test_a_case_that_left_the_day_is_charged_to_the_day_only(database: Database) -> None:
    limits = budget(CaseLimit(None, DAY_S, 1), CaseLimit(None, MONTH_S, 2))
    first, second = job(database), job(database)
    assert begins(database, first, limits)
    age_cases(database, DAY_S + MARGIN_S)
    assert begins(database, second, limits)
    give_back(database, first)

    assert not begins(database, first, limits)
    age_cases(database, DAY_S + MARGIN_S)
    # The month is used up, and has the case already.
    assert begins(database, first, limits)
    assert not begins(database, job(database), limits)


def test_concurrent_claims_take_exactly_the_places_that_there_are(database: Database) -> None:
    jobs = [job(database) for _ in range(24)]
    limits = budget(CaseLimit(None, DAY_S, 7), CaseLimit(COURT, MONTH_S, 5))

    begun = run_concurrently([partial(begins, database, each, limits) for each in jobs])

    assert sum(begun) == 5
    assert len(cases(database)) == 5


def test_a_listing_that_is_copied_needs_no_place(database: Database) -> None:
    case = factories.process_number()
    listed = factories.listed_job(database, 1, factories.request(case))
    assert listed
    limits = budget(CaseLimit(None, DAY_S, 1))
    assert begins(database, job(database), limits)
    factories.execute(
        database,
        "UPDATE jobs SET state = 'CANCELLED', cancelled_documents = 1,"
        " end_time = clock_timestamp() WHERE job_id = %(id)s",
        id=listed,
    )
    factories.execute(database, "UPDATE documents SET state = 'CANCELLED'")
    view, _ = factories.start(database, factories.request(case))

    answer = ask(database, view.job.job_id, limits)

    assert isinstance(answer, ListingClaim)
    assert answer.listed_by == listed
    assert len(cases(database)) == 1


def test_documents_of_a_listed_case_are_fetched_while_the_budget_is_used_up(
    database: Database,
) -> None:
    listed = factories.listed_job(database, 3)
    limits = budget(CaseLimit(None, DAY_S, 1))
    assert begins(database, job(database), limits)
    assert not begins(database, job(database), limits)

    assert isinstance(ask(database, listed, limits), Slice)


def test_without_a_budget_nothing_is_recorded(database: Database) -> None:
    assert begins(database, job(database), CaseBudget())
    assert cases(database) == []


def test_the_deadline_of_a_job_that_waits_stands_still(database: Database) -> None:
    limits = budget(CaseLimit(None, DAY_S, 1))
    waiting, ordinary = job(database), job(database)
    assert begins(database, job(database), limits)
    assert not begins(database, waiting, limits)
    deadline = factories.job(database, waiting)["deadline_time"]
    for job_id in (waiting, ordinary):
        factories.age(database, job_id, 100_000)
    factories.execute(
        database,
        "UPDATE jobs SET budget_wait_time = budget_wait_time - interval '100000 seconds'"
        " WHERE budget_wait_time IS NOT NULL",
    )

    assert reconciliation.time_out(database) == [ordinary]
    assert factories.job(database, waiting)["end_time"] is None

    age_cases(database, DAY_S + MARGIN_S)
    assert begins(database, waiting, limits)
    row = factories.job(database, waiting)
    assert (row["budget_wait_time"], row["budget_scope"]) == (None, None)
    # The time before the wait counts, the wait does not.
    assert abs(row["deadline_time"] - deadline) < timedelta(seconds=60)
    assert reconciliation.time_out(database) == []


def test_a_new_job_does_not_overtake_those_that_wait(database: Database) -> None:
    limits = budget(CaseLimit(None, DAY_S, 1))
    assert begins(database, job(database), limits)
    waiting = job(database)
    assert not begins(database, waiting, limits)
    age_cases(database, DAY_S + MARGIN_S)

    refusal = refused(database, job(database), limits)

    assert refusal.until_time is not None
    assert refusal.until_time <= datetime.now(UTC)
    assert begins(database, waiting, limits)


def test_a_wait_at_one_court_delays_no_job_of_another(database: Database) -> None:
    limits = budget(CaseLimit(OTHER_COURT, DAY_S, 1), CaseLimit(None, DAY_S, 9))
    assert begins(database, job(database, OTHER_COURT), limits)
    assert not begins(database, job(database, OTHER_COURT), limits)

    assert begins(database, job(database), limits)


def test_jobs_go_on_without_a_scheduler_beside_those_that_wait(database: Database) -> None:
    limits = budget(CaseLimit(OTHER_COURT, DAY_S, 1))
    for _ in range(4):
        job(database, OTHER_COURT)
    here = {job(database) for _ in range(2)}
    context = replace(factories.CLAIM_CONTEXT, budget=limits)

    def claim_all() -> list[UUID]:
        begun = [claim_any(database, context) for _ in range(40)]
        return [each.job_id for each in begun if isinstance(each, ListingClaim)]

    listings = claim_all()
    assert len(listings) == 3
    assert here < set(listings)

    age_cases(database, DAY_S + MARGIN_S)
    # Of the calls, one in eight tries the jobs that wait.
    assert len(next(filter(None, (claim_all() for _ in range(50))), [])) == 1


def test_the_number_of_a_case_is_kept_as_its_hmac_only(database: Database) -> None:
    case = factories.process_number()
    assert begins(database, job(database, case=case), budget())
    assert cases(database) == [hmac.digest(KEY, case.encode(), hashlib.sha256)]


@pytest.mark.parametrize("keys", [[b"n" * 32, KEY], [b"n" * 32, b"o" * 32, KEY]])
def test_a_new_key_does_not_count_a_case_twice(database: Database, keys: list[bytes]) -> None:
    first, one_a_day = job(database), CaseLimit(None, DAY_S, 1)
    # Without a key the installation's id serves.
    assert begins(database, first, budget(one_a_day, keys=[]))
    for known in ([KEY], keys):
        give_back(database, first)
        assert begins(database, first, budget(one_a_day, keys=known))
        assert len(cases(database)) == 1


def test_budget_keys_are_derived_from_the_encryption_keys_and_stable() -> None:
    one, other = case_budget._key("A" * 43 + "="), case_budget._key("B" * 42 + "A=")
    assert one == case_budget._key("A" * 43 + "=") != other
    assert len(one) == 32


def test_a_probe_that_would_list_a_new_case_asks_for_a_file_if_no_place_is_left(
    database: Database,
) -> None:
    listed, full = factories.listed_job(database, 3), budget(CaseLimit(None, DAY_S, 1))
    free = budget(CaseLimit(None, DAY_S, 2))
    factories.execute(
        database,
        "INSERT INTO courts (court, next_probe_time, failing_since) VALUES (%(court)s,"
        " clock_timestamp(), clock_timestamp() - interval '1 hour')",
        court=COURT,
    )
    assert begins(database, job(database, OTHER_COURT), free)

    assert isinstance(ask(database, listed, full), Slice)
    factories.execute(database, "UPDATE courts SET next_probe_time = clock_timestamp()")
    factories.execute(
        database, "UPDATE slots SET lease_until = '-infinity' WHERE lease IS NOT NULL"
    )
    assert isinstance(ask(database, listed, free), CourtProbe)
    assert len(cases(database)) == 2


def test_a_waiting_job_is_read_as_such_until_a_listing_of_its_case_came(
    database: Database,
) -> None:
    case = factories.process_number()
    limits = budget(CaseLimit(None, DAY_S, 1))
    assert begins(database, job(database), limits)
    waiting = job(database, case=case)
    assert not begins(database, waiting, limits)

    def waits() -> bool:
        rows = scheduler_readings.read_jobs(database, after=FIRST_KEY)
        return any(row["job_id"] == waiting and row["waits_for_budget"] for row in rows)

    assert waits()
    factories.listed_job(database, 1, factories.request(case, client="other"))
    assert not waits()
    answer = ask(database, waiting, limits)
    assert isinstance(answer, ListingClaim)
    assert answer.listed_by is not None


def test_a_case_that_failed_was_asked_for_all_the_same(database: Database) -> None:
    limits = budget(CaseLimit(None, DAY_S, 1))
    answer = ask(database, job(database), limits)
    assert isinstance(answer, ListingClaim)
    attempts.fail_attempt(
        database, answer, PermanentError("NOT_FOUND", "No such case."), factories.POLICY
    )

    assert not begins(database, job(database), limits)


def test_the_use_of_the_budget_is_read_by_court_and_window(database: Database) -> None:
    limits = (CaseLimit(None, DAY_S, 2), CaseLimit(OTHER_COURT, MONTH_S, 9))
    for court in (COURT, OTHER_COURT):
        assert begins(database, job(database, court), budget(*limits))
    age_cases(database, DAY_S + MARGIN_S, OTHER_COURT)
    assert begins(database, job(database, OTHER_COURT), budget(*limits))

    with database.autocommit() as transaction:
        used = case_budget.read_use(transaction, case_budget.complete(limits))
        ends = case_budget.ends(transaction, budget(*limits))

    assert [(u.limit.court, u.limit.window_s, u.limit.most, u.cases) for u in used] == [
        (None, DAY_S, 2, 2),
        (None, MONTH_S, None, 3),
        (OTHER_COURT, DAY_S, None, 1),
        (OTHER_COURT, MONTH_S, 9, 2),
    ]
    assert [use.end_time is not None for use in used] == [True, False, False, False]
    assert ends == {"": used[0].end_time}


def test_cases_that_are_in_no_window_are_deleted(database: Database) -> None:
    for seconds in (0, MONTH_S + MARGIN_S, DAY_S):
        age_cases(database, seconds)
        assert begins(database, job(database), budget(CaseLimit(None, DAY_S, 9)))

    assert case_budget.delete_old(database) == 1
    assert len(cases(database)) == 2


def test_jobs_that_wait_for_the_budget_count_as_waiting_jobs_and_not_as_jobs_at_once(
    database: Database,
) -> None:
    limits = budget(CaseLimit(None, DAY_S, 1))
    seats: dict[str, Any] = {"jobs_at_once": 2, "waiting_jobs": 3}
    begun = job(database, **seats)
    assert begins(database, begun, limits)
    # One seat is the running job's.
    for _ in range(1 + 3):
        assert not begins(database, job(database, **seats), limits)

    with pytest.raises(LimitReached):
        job(database, **seats)
    with database.autocommit() as transaction:
        rows = transaction.all("SELECT seat FROM jobs ORDER BY seat")
    assert [row["seat"] > 0 for row in rows] == [False, False, False, True, True]
    age_cases(database, DAY_S + MARGIN_S)
    assert isinstance(claim_waiting(database, limits), ListingClaim)


def claim_waiting(database: Database, of: CaseBudget) -> Claimed:
    """Claim the listing of the job that has waited longest for the budget."""
    with database.autocommit() as transaction:
        row = transaction.only(
            "SELECT job_id FROM jobs WHERE budget_wait_time IS NOT NULL"
            " ORDER BY budget_wait_time LIMIT 1"
        )
    return ask(database, row["job_id"], of)


def test_a_full_client_that_starts_a_waiting_case_again_joins_its_job(database: Database) -> None:
    limits, case = budget(CaseLimit(None, DAY_S, 1)), factories.process_number()
    seats: dict[str, Any] = {"jobs_at_once": 1, "waiting_jobs": 3}
    assert begins(database, job(database, client="other"), limits)
    waiting = job(database, case=case, **seats)
    assert not begins(database, waiting, limits)

    assert job(database, case=case, **seats) == waiting
    assert factories.job(database, waiting)["seat"] > 0
