"""Test a court's circuit breaker: 502, 503, 504 or timeouts, probes, and counted attempts."""

from __future__ import annotations

from uuid import UUID

import pytest

from storage.errors import PermanentError, TransientError
from storage.portal import attempts
from storage.portal.document_claims import DocumentClaim
from storage.portal.listing_claims import ListingClaim
from storage.portal.portal_feedback import record_probe
from storage.portal.request_claims import CourtProbe
from storage.postgres.database import Database, Row
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.scheduler_driver import (
    POLICY,
    PROBES,
    answer,
    ask,
    ask_all,
    context,
    refuse,
)

AWAY = TransientError("PORTAL_UNAVAILABLE", "The portal is not available (503).")
BROKEN = TransientError("PORTAL_ERROR", "The portal failed internally (500).", is_few=True)
COURT = "8.26"


def _row(database: Database) -> Row:
    with database.transaction() as transaction:
        return transaction.one("SELECT * FROM courts WHERE court = %(c)s", c=COURT) or {}


def _gone(database: Database, documents: int = 20) -> UUID:
    """Return a job of a court with an open circuit."""
    job_id = scheduler_driver.job(database, documents, court=COURT)
    for claim in ask_all(database, context()):
        refuse(database, claim, AWAY)
    assert _row(database)["next_probe_time"]
    factories.age_portal(database, 1.1)
    return job_id


def test_a_burst_of_failures_stops_all_requests_to_the_court_and_to_no_other(
    database: Database,
) -> None:
    # Given another job that was served already, so that it is not the next
    other = scheduler_driver.job(database, 3, court="8.19")
    factories.execute(database, "INSERT INTO courts (court, request_s) VALUES ('8.19', 1000)")
    (first, *_) = ask_all(database, context(at_once=1))
    answer(database, first)

    _gone(database)

    assert {c.job_id for c in ask_all(database, context())} == {other}


def test_a_refusal_before_any_request_does_not_change_the_court(database: Database) -> None:
    _gone(database)
    factories.execute(database, "UPDATE portal SET eased = 1, eased_to = 9, eased_fast_to = 4")
    factories.age_portal(database, 60)
    probe = ask(database, context())
    assert isinstance(probe, DocumentClaim)
    before = _row(database)
    too_large = PermanentError("TOO_LARGE", "The document is larger than the spool.")
    too_large.is_requested = False

    outcome = refuse(database, probe, too_large)

    assert outcome.delay_s is None
    assert _row(database) == before
    with database.transaction() as transaction:
        assert transaction.only("SELECT eased FROM portal")["eased"] == 1
        assert transaction.all("SELECT FROM slots WHERE lease = %(lease)s", lease=probe.lease) == []


def test_fewer_failures_are_no_burst(database: Database) -> None:
    scheduler_driver.job(database, 20, court=COURT)
    for claim in ask_all(database, context())[: PROBES.burst - 1]:
        refuse(database, claim, AWAY)

    factories.age_portal(database, 1.1)
    assert ask(database, context()) is not None


@pytest.mark.parametrize("other", [BROKEN, PermanentError("NOT_FOUND", "not there"), None])
def test_any_other_answer_between_failures_shows_the_court_at_work(
    database: Database, other: TransientError | PermanentError | None
) -> None:
    scheduler_driver.job(database, 20, court=COURT)
    failing = ask_all(database, context(at_once=3))
    for claim in failing:
        refuse(database, claim, AWAY)
    assert len(failing) == PROBES.burst - 1
    between, *more = ask_all(database, context(at_once=4))
    if other:
        refuse(database, between, other)
    else:
        answer(database, between)

    refuse(database, more[0], AWAY)

    assert _row(database)["next_probe_time"] is None


def test_answers_to_earlier_requests_do_not_hide_a_burst(database: Database) -> None:
    # Given requests in flight when the failures began, and answered among them
    scheduler_driver.job(database, 20, court=COURT)
    scheduler_driver.job(database, 20, court=COURT)
    *failing, early, late = ask_all(database, context())
    assert len(failing) == PROBES.burst
    refuse(database, failing[0], AWAY)
    answer(database, early)
    refuse(database, failing[1], AWAY)
    refuse(database, failing[2], AWAY)
    answer(database, late)
    assert _row(database)["next_probe_time"] is None

    refuse(database, failing[3], AWAY)

    assert _row(database)["next_probe_time"]


def test_while_a_court_is_away_one_probe_is_sent_at_growing_intervals(database: Database) -> None:
    _gone(database)
    waits = []

    for _ in range(5):
        assert ask(database, context()) is None
        wait_s = _wait_s(database)
        waits.append(wait_s)
        factories.age_portal(database, wait_s - 0.5)
        assert ask(database, context()) is None, "too early"
        factories.age_portal(database, 1)
        (probe,) = ask_all(database, context())
        refuse(database, probe, AWAY)
        factories.age_portal(database, 1.1)
        factories.execute(database, "UPDATE courts SET failing_since = clock_timestamp()")

    planned = [5, 10, 20, 40, 60]
    for wait_s, planned_s in zip(waits, planned, strict=True):
        assert planned_s - 4 <= wait_s <= planned_s


def _wait_s(database: Database) -> float:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT extract(epoch FROM next_probe_time - clock_timestamp()) AS s FROM courts"
        )
    return float(row["s"])


def test_waiting_for_a_court_counts_no_attempt(database: Database) -> None:
    job_id = _gone(database)
    burnt = sum(d["attempt_count"] for d in factories.documents(database, job_id))
    assert burnt == PROBES.burst - 1, "only those that came before the burst was one"

    for _ in range(8):
        factories.age_portal(database, 61)
        factories.execute(database, "UPDATE courts SET failing_since = clock_timestamp()")
        (probe,) = ask_all(database, context())
        outcome = refuse(database, probe, AWAY)
        assert outcome.delay_s
        factories.age_portal(database, 1.1)

    documents = factories.documents(database, job_id)
    assert sum(d["attempt_count"] for d in documents) == burnt
    assert {d["state"] for d in documents} == {"PENDING"}


def test_a_good_probe_opens_the_court_at_once_for_all(database: Database) -> None:
    _gone(database)
    factories.age_portal(database, 6)
    (probe,) = ask_all(database, context())

    answer(database, probe)

    assert len(ask_all(database, context())) == 5
    assert (_row(database)["failure_count"], _row(database)["next_probe_time"]) == (0, None)


def test_a_document_that_fails_in_a_working_court_does_not_change_the_court(
    database: Database,
) -> None:
    # Given a document that failed while others of its court were answered
    scheduler_driver.job(database, 1, court=COURT)
    (bad,) = ask_all(database, context())
    refuse(database, bad, AWAY)
    factories.age_portal(database, 1.1)
    scheduler_driver.job(database, 1, court=COURT)
    good = next(c for c in ask_all(database, context()) if c.job_id != bad.job_id)
    answer(database, good)
    factories.execute(
        database, "UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL"
    )

    # When it goes on failing
    attempts = 2  # The second is in flight.
    document = _document(database, bad)
    while document["state"] != "FAILED":
        claim = _again(database, bad)
        refuse(database, claim, AWAY)
        factories.age_portal(database, 1.1)
        document = _document(database, bad)
        attempts += 1
        assert attempts < 9, "it is never given up"

    # Then it fails as any other, and no request is delayed
    assert document["error_reason"] == "PORTAL_UNAVAILABLE"
    assert document["attempt_count"] == 5
    assert _row(database)["next_probe_time"] is None


def _document(database: Database, claim: DocumentClaim) -> Row:
    return factories.documents(database, claim.job_id)[0]


def _again(database: Database, bad: DocumentClaim) -> DocumentClaim:
    document = _document(database, bad)
    if document["state"] == "DOWNLOADING":
        return DocumentClaim(**{**_fields(bad), "lease": document["lease"]})
    (claim,) = ask_all(database, context())
    return claim


def _fields(claim: DocumentClaim) -> dict[str, object]:
    return {name: getattr(claim, name) for name in DocumentClaim.__dataclass_fields__}


def test_after_the_probe_limit_the_listing_is_requested_instead_of_a_file(
    database: Database,
) -> None:
    # Given documents that always fail, the last of their case
    job_id = _gone(database, 5)
    factories.age_portal(database, PROBES.patience_s + 1)

    # When the court answers for the listing
    probe = ask(database, context())
    assert isinstance(probe, CourtProbe)
    assert probe.process_number == factories.job(database, job_id)["process_number"]
    assert ask(database, context()) is None, "one probe at a time"
    record_probe(database, probe, None, POLICY)
    assert _row(database)["next_probe_time"] is None

    # Then the documents are at fault, and their attempts count again
    for _ in range(POLICY.attempts + 1):
        for claim in ask_all(database, context()):
            refuse(database, claim, AWAY)
        factories.age_portal(database, 1.1)
    assert {d["state"] for d in factories.documents(database, job_id)} == {"FAILED"}
    assert factories.job(database, job_id)["state"] == "FAILED"


def test_files_that_all_fail_are_given_up_without_the_court_being_away_again(
    database: Database,
) -> None:
    # Given a case with no file answered, and a court that answers for its listing
    job_id = _gone(database, 30)
    factories.age_portal(database, PROBES.patience_s + 1)
    probe = ask(database, context())
    assert isinstance(probe, CourtProbe)
    record_probe(database, probe, None, POLICY)

    # When the others fail too, then no request is delayed for the court once more
    requests = 0
    while factories.job(database, job_id)["end_time"] is None:
        for claim in ask_all(database, context()):
            refuse(database, claim, AWAY)
            requests += 1
        assert _row(database)["next_probe_time"] is None, "the court counts as away again"
        assert requests <= 30 * POLICY.attempts
    assert factories.job(database, job_id)["error_reason"] == "NO_DOCUMENT_AVAILABLE"


def test_after_a_good_file_the_others_speak_for_the_court_again(database: Database) -> None:
    _gone(database, 30)
    factories.age_portal(database, PROBES.patience_s + 1)
    probe = ask(database, context())
    assert isinstance(probe, CourtProbe)
    record_probe(database, probe, None, POLICY)
    (good, *others) = ask_all(database, context())
    answer(database, good)
    for claim in others:
        answer(database, claim)

    for _ in range(2):
        for claim in ask_all(database, context()):
            refuse(database, claim, AWAY)

    assert _row(database)["next_probe_time"]


def test_a_court_that_does_not_list_either_stays_away(database: Database) -> None:
    job_id = _gone(database, 5)
    for _ in range(3):
        factories.age_portal(database, PROBES.patience_s + 61)
        probe = ask(database, context())
        assert isinstance(probe, CourtProbe)
        record_probe(database, probe, AWAY, POLICY)
        assert ask(database, context()) is None
        factories.age_portal(database, 1.1)

    assert {d["state"] for d in factories.documents(database, job_id)} == {"PENDING"}
    assert _row(database)["next_probe_time"]


def _fail_listing(database: Database, times: int, *, every_s: float = 61) -> None:
    for _ in range(times):
        claim = ask(database, context())
        assert isinstance(claim, ListingClaim)
        attempts.fail_attempt(database, claim, AWAY, POLICY)
        factories.age_portal(database, every_s)


def test_listings_wait_too_and_the_job_goes_on(database: Database) -> None:
    view, _ = factories.start(database, factories.request(scheduler_driver.number(1, COURT)))
    factories.start(database, factories.request(scheduler_driver.number(2, COURT)))

    _fail_listing(database, 12)

    job = factories.job(database, view.job.job_id)
    assert job["state"] == "PROCESSING"
    assert job["listing_attempt_count"] <= PROBES.burst - 1


def test_a_listing_that_fails_alone_ends_after_the_probe_limit(database: Database) -> None:
    view, _ = factories.start(database, factories.request(scheduler_driver.number(1, COURT)))
    _fail_listing(database, PROBES.burst, every_s=2)
    assert factories.job(database, view.job.job_id)["listing_attempt_count"] == PROBES.burst - 1

    factories.age_portal(database, PROBES.patience_s)
    _fail_listing(database, 2)

    job = factories.job(database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "PORTAL_UNAVAILABLE")


def test_a_probe_whose_worker_is_killed_is_followed_by_another(database: Database) -> None:
    _gone(database)
    factories.age_portal(database, 6)
    assert len(ask_all(database, context())) == 1
    assert ask(database, context()) is None

    factories.age_portal(database, 61)

    assert len(ask_all(database, context())) == 1


def test_a_slow_probe_is_alone_however_long_it_takes(database: Database) -> None:
    _gone(database)
    factories.age_portal(database, 6)
    (probe,) = ask_all(database, context())

    factories.execute(database, "UPDATE courts SET next_probe_time = clock_timestamp()")
    assert ask(database, context()) is None

    refuse(database, probe, AWAY)
    factories.age_portal(database, 1.1)
    factories.execute(database, "UPDATE courts SET next_probe_time = clock_timestamp()")
    assert len(ask_all(database, context())) == 1


def test_an_answer_of_a_healthy_court_writes_nothing_about_it(database: Database) -> None:
    scheduler_driver.job(database, 3, court=COURT)
    (first,) = ask_all(database, context(at_once=1))
    refuse(database, first, AWAY)
    second, third, *_ = ask_all(database, context())
    answer(database, second)
    before = _row(database)

    answer(database, third)

    assert _row(database) == before
