"""Test 429: all workers pause as long as the portal requests, then ramp up; no attempt counts."""

from __future__ import annotations

import itertools

import pytest

from storage.errors import TooFast
from storage.portal.document_claims import DocumentClaim
from storage.portal.throttle import CAP_S, SPREAD
from storage.postgres.database import Database
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.scheduler_driver import COURTS, answer, ask, ask_all, context, refuse


def _too_fast(retry_after_s: float | None = None) -> TooFast:
    return TooFast("The portal asks for a pause.", retry_after_s=retry_after_s)


def _jobs(database: Database, documents: int = 5) -> None:
    for court in COURTS[:4]:
        scheduler_driver.job(database, documents, court=court)


def _paused_s(database: Database) -> float:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT extract(epoch FROM paused_until - clock_timestamp()) AS s FROM portal"
        )
    return float(row["s"])


def test_all_requests_pause_for_the_portals_retry_after(database: Database) -> None:
    _jobs(database)
    first, *others = ask_all(database, context(at_once=4))

    outcome = refuse(database, first, _too_fast(30))
    for claim in others:
        answer(database, claim)

    assert outcome.delay_s is not None
    assert 29 < outcome.delay_s <= 30 * (1 + SPREAD)
    assert ask(database, context()) is None
    factories.age_portal(database, 25)
    assert ask(database, context()) is None
    factories.age_portal(database, 5 + 30 * SPREAD)
    assert ask(database, context()) is not None


def test_a_pause_counts_no_attempt_and_the_document_has_no_delay_of_its_own(
    database: Database,
) -> None:
    job_id = scheduler_driver.job(database, 1)
    for _ in range(12):
        claim = ask(database, context())
        assert isinstance(claim, DocumentClaim)
        refuse(database, claim, _too_fast(1))
        factories.age_portal(database, 2)

    (document,) = factories.documents(database, job_id)
    assert (document["state"], document["attempt_count"]) == ("PENDING", 0)


@pytest.mark.parametrize("asked_s", [301, 86_400.0])
def test_a_pause_is_five_minutes_at_most(database: Database, asked_s: float) -> None:
    _jobs(database)
    (claim, *_) = ask_all(database, context(at_once=1))

    refuse(database, claim, _too_fast(asked_s))

    assert CAP_S - 5 < _paused_s(database) <= CAP_S


def test_unnamed_pauses_double_from_ten_seconds(database: Database) -> None:
    _jobs(database)
    pauses = []

    for _ in range(7):
        (claim, *_) = ask_all(database, context(at_once=1))
        refuse(database, claim, _too_fast())
        pauses.append(_paused_s(database))
        factories.age_portal(database, CAP_S + 1)

    planned = [10, 20, 40, 80, 160, 300, 300]
    for pause_s, planned_s in zip(pauses, planned, strict=True):
        assert planned_s - 5 <= pause_s <= min(CAP_S, planned_s * (1 + SPREAD))


def test_requests_that_were_there_already_are_one_strike(database: Database) -> None:
    _jobs(database)
    burst = ask_all(database, context(at_once=8))

    for claim in burst:
        refuse(database, claim, _too_fast())

    assert _paused_s(database) <= 10 * (1 + SPREAD)
    factories.age_portal(database, 12)
    (again,) = ask_all(database, context())
    refuse(database, again, _too_fast())
    assert 15 < _paused_s(database) <= 20 * (1 + SPREAD)


def test_after_a_pause_requests_begin_one_by_one(database: Database) -> None:
    # Given eight requests at once, of which one exceeded the limit
    _jobs(database, 40)
    burst = ask_all(database, context(at_once=8))
    refuse(database, burst[0], _too_fast(5))
    for claim in burst[1:]:
        # An answer from before the pause proves nothing.
        answer(database, claim)
    factories.age_portal(database, 6)

    # When answers are good, then the limit grows by ones to half of its former value, then more
    # slowly
    allowed = []
    for _ in range(30):
        taken = ask_all(database, context(at_once=10))
        allowed.append(len(taken))
        for claim in taken:
            answer(database, claim)
        if len(taken) == 10:
            break

    assert allowed[:2] == [1, 2]
    assert allowed[-1] == 10, "it comes back to what is set"
    assert allowed == sorted(allowed)
    assert allowed[2] == 4
    assert all(after - before <= 1 for before, after in itertools.pairwise(allowed[2:]))


def test_without_a_pause_answers_write_nothing_about_it(database: Database) -> None:
    _jobs(database)
    before = _portal_row(database)

    for claim in ask_all(database, context()):
        answer(database, claim)

    assert _portal_row(database) == before


def _portal_row(database: Database) -> str:
    with database.transaction() as transaction:
        return str(transaction.only("SELECT xmin::text, ctid::text FROM portal"))


def _refused_for_good(database: Database, error: TooFast) -> int:
    """Return how often all requests paused for one document that alone is always rejected."""
    bad = scheduler_driver.job(database, 1, court="8.19")
    good = scheduler_driver.job(database, 60, court="8.26")
    pauses = 0
    for _ in range(60):
        factories.age(database, bad, 61)
        for job_id in (good, bad):
            claim = ask(database, context(at_once=2), job_id)
            if claim is None:
                continue
            assert isinstance(claim, DocumentClaim)
            if job_id == bad:
                outcome = refuse(database, claim, error)
                pauses += _paused_s(database) > 0
                if outcome.job_has_ended:
                    return pauses
            else:
                answer(database, claim)
        factories.age_portal(database, CAP_S + 1)
    assert factories.job(database, good)["state"] == "PROCESSING", "the test ran out of documents"
    pytest.fail("it is never given up")


def test_a_document_that_is_always_rejected_ends_and_stops_no_other_for_long(
    database: Database,
) -> None:
    assert _refused_for_good(database, _too_fast(1)) == 5


def test_an_address_that_the_firewall_blocks_pauses_all_requests_twice_at_most(
    database: Database,
) -> None:
    assert _refused_for_good(database, TooFast("no", retry_after_s=None, own_after=2)) == 2


def test_429_for_the_only_document_counts_no_attempt(database: Database) -> None:
    job_id = scheduler_driver.job(database, 1)
    for _ in range(12):
        (claim,) = ask_all(database, context())
        assert refuse(database, claim, _too_fast(1)).delay_s is not None
        factories.age_portal(database, CAP_S + 1)

    assert factories.documents(database, job_id)[0]["attempt_count"] == 0
