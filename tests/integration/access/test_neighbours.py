"""Test that one client's cases stop only this client, and that a real outage stops all at once."""

from __future__ import annotations

from uuid import UUID

import pytest

from storage.errors import TooFast, TransientError
from storage.health.holds import Holds
from storage.login import login_blocks
from storage.login.login_values import Evidence
from storage.portal import attempts
from storage.portal.document_claims import DocumentClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import ClaimRefusal, CourtProbe, claim
from storage.portal.throttle import SPREAD
from storage.postgres.database import Database, Row
from storage.scheduling import scheduler_readings
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.factories import LANES, LOGIN
from tests.integration.harness.scheduler_driver import (
    PROBES,
    answer,
    ask,
    ask_all,
    context,
    refuse,
)

FIREWALL = TooFast("The portal's firewall.", retry_after_s=None, own_after=2, is_of_firewall=True)
TOO_MANY = TooFast("The portal asks for a pause.", retry_after_s=None)
SILENT = TransientError("PORTAL_UNAVAILABLE", "The portal did not answer.")
COURT = "8.26"


@pytest.fixture
def alpha(database: Database) -> UUID:
    return scheduler_driver.job(database, 40, client="alpha")


@pytest.fixture
def beta(database: Database) -> UUID:
    return scheduler_driver.job(database, 40, client="beta")


def _claimed(database: Database, job_id: UUID) -> DocumentClaim:
    document = ask(database, context(), job_id)
    assert isinstance(document, DocumentClaim)
    return document


def _stopped(database: Database, job_id: UUID) -> RefusedScope | None:
    """Return the scope that stops a job, None if it may begin a request."""
    found = claim(database, context(), job_id, 1)
    if isinstance(found, ClaimRefusal):
        return found.scope
    assert not isinstance(found, CourtProbe)
    (document,) = found.documents  # type: ignore[union-attr]
    attempts.give_back(database, document)
    return None


def _free_slots(database: Database) -> None:
    """Free the slots of requests that were given back: they are held for a second."""
    factories.execute(
        database,
        "UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL",
    )


def _portal(database: Database) -> Row:
    with database.transaction() as transaction:
        return transaction.only("SELECT * FROM portal")


def _read(database: Database) -> scheduler_readings.PortalState:
    return scheduler_readings.read_portal(database, LOGIN)


# The firewall's page.


def test_the_firewalls_page_for_one_client_pauses_no_other(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    for _ in range(4):
        case = scheduler_driver.job(database, 1, client="alpha")
        outcome = refuse(database, _claimed(database, case), FIREWALL)
        assert outcome.closed_client == "alpha"
        assert _stopped(database, alpha) is RefusedScope.CLIENT
        # There is no slow start for the other client.
        for document in [_claimed(database, beta) for _ in range(LANES)]:
            answer(database, document)
        factories.age_portal(database, 300)

    assert _stopped(database, alpha) is None


def test_the_firewalls_page_for_two_clients_pauses_all_at_the_second(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    third = scheduler_driver.job(database, 1, client="gamma")
    mine, theirs = _claimed(database, alpha), _claimed(database, beta)
    refuse(database, mine, FIREWALL)

    outcome = refuse(database, theirs, FIREWALL)

    assert (outcome.is_closed, outcome.closed_client) == (True, None)
    assert outcome.delay_s is not None
    assert 9 < outcome.delay_s <= 10 * (1 + SPREAD)
    assert {_stopped(database, each) for each in (alpha, beta, third)} == {RefusedScope.PORTAL}
    assert _portal(database)["eased"] == 1, "a slow start follows"


def test_a_good_answer_between_the_firewalls_pages_makes_each_its_clients_own(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    refuse(database, _claimed(database, alpha), FIREWALL)
    answer(database, _claimed(database, beta))

    assert refuse(database, _claimed(database, beta), FIREWALL).closed_client == "beta"

    third = scheduler_driver.job(database, 1, client="gamma")
    assert _stopped(database, beta) is RefusedScope.CLIENT
    assert _stopped(database, third) is None


def test_an_answer_from_before_the_firewalls_page_proves_nothing(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    mine, early, late = (_claimed(database, each) for each in (alpha, beta, beta))
    refuse(database, mine, FIREWALL)
    answer(database, early)

    assert refuse(database, late, FIREWALL).closed_client is None


def test_a_429_pauses_all_clients_at_once(database: Database, alpha: UUID, beta: UUID) -> None:
    refuse(database, _claimed(database, alpha), FIREWALL)
    outcome = refuse(database, _claimed(database, beta), TOO_MANY)

    assert outcome.closed_client is None
    assert outcome.delay_s is not None
    assert outcome.delay_s <= 10 * (1 + SPREAD), "pauses of one client do not lengthen it"
    assert {_stopped(database, alpha), _stopped(database, beta)} == {RefusedScope.PORTAL}


def test_after_a_pause_of_all_one_client_cannot_pause_all_again(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    # Given a slow start after a pause of all
    cases = [scheduler_driver.job(database, 1, client="alpha") for _ in range(2)]
    refuse(database, _claimed(database, beta), TOO_MANY)
    factories.age_portal(database, 300)
    for case in cases:
        factories.execute(database, "UPDATE portal SET paused_until = '-infinity'")
        refuse(database, _claimed(database, case), FIREWALL)
        assert _stopped(database, alpha) is RefusedScope.CLIENT
        assert _stopped(database, beta) is None
        assert _portal(database)["pause_count"] == 1
        _free_slots(database)

    # Then its slow start goes on with the answers of others
    answer(database, _claimed(database, beta))
    assert _portal(database)["eased"] == 2


def test_the_only_client_is_paused_as_before_and_stops_no_newcomer(
    database: Database, alpha: UUID
) -> None:
    # Given an installation that one client uses: pauses double, and each ends with a slow start
    pauses = []
    for _ in range(3):
        outcome = refuse(database, _claimed(database, alpha), FIREWALL)
        pauses.append(outcome.delay_s or 0)
        assert ask_all(database, context()) == []
        assert _read(database).portal["closed_until"] is not None
        factories.age_portal(database, 300)
        assert len(ask_all(database, context())) == 1, "slow start"
        _free_slots(database)
    assert [round(pause_s, -1) for pause_s in pauses] == [10, 20, 40]

    # When another client comes during a pause, then it is served
    refuse(database, _claimed(database, alpha), FIREWALL)
    beta = scheduler_driver.job(database, 8, client="beta")
    assert _stopped(database, alpha) is RefusedScope.CLIENT
    assert _read(database).portal["closed_until"] is None
    assert _read(database).portal["held_clients"] == ["alpha"]
    for _ in range(4):
        answer(database, _claimed(database, beta))
    assert _portal(database)["eased"] > 1, "its answers end the slow start"


# A court that does not answer.


def _fail(database: Database, job_id: UUID, count: int = PROBES.burst) -> None:
    """Let requests of a job get no answer, all at the same time."""
    for document in [_claimed(database, job_id) for _ in range(count)]:
        refuse(database, document, SILENT)
    factories.age_portal(database, 1.1)


def test_a_court_that_one_client_gets_no_answer_from_stays_open_for_others(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    _fail(database, alpha)

    assert _stopped(database, alpha) is RefusedScope.CLIENT_COURT
    assert _stopped(database, beta) is None
    (court,) = _read(database).courts
    assert (court["next_probe_at"], court["held_client"]) == (None, "alpha")
    elsewhere = scheduler_driver.job(database, 1, client="alpha", court="8.19")
    assert _stopped(database, elsewhere) is None

    # And a good answer of the other ends it
    answer(database, _claimed(database, beta))
    assert _stopped(database, alpha) is None


def test_a_court_that_two_clients_get_no_answer_from_is_away_at_once(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    _fail(database, alpha)

    outcome = refuse(database, _claimed(database, beta), SILENT)

    assert (outcome.is_closed, outcome.closed_client) == (True, None)
    factories.age_portal(database, 1.1)
    assert {_stopped(database, alpha), _stopped(database, beta)} == {RefusedScope.COURT}


def test_an_outage_that_all_clients_see_needs_no_more_failures_than_before(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    documents = [_claimed(database, each) for each in (alpha, beta, alpha, beta)]
    assert len(documents) == PROBES.burst

    outcomes = [refuse(database, document, SILENT) for document in documents]

    assert [outcome.is_closed for outcome in outcomes] == [False, False, False, True]
    assert outcomes[-1].closed_client is None


def test_a_document_that_failed_before_its_courts_last_answer_closes_no_court_for_others(
    database: Database, alpha: UUID
) -> None:
    # Given a document of beta that fails while its court answers others
    beta = scheduler_driver.job(database, 1, client="beta")
    gamma = scheduler_driver.job(database, 2, client="gamma")
    refuse(database, _claimed(database, beta), SILENT)
    answer(database, _claimed(database, gamma))
    _fail(database, alpha)
    assert _stopped(database, alpha) is RefusedScope.CLIENT_COURT
    factories.age(database, beta, 61)

    # When it fails again, then it is at fault itself
    refuse(database, _claimed(database, beta), SILENT)

    assert _stopped(database, gamma) is None


def test_a_client_that_is_stopped_at_a_court_probes_it_beside_the_requests_of_others(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    _fail(database, alpha)
    _claimed(database, beta)
    factories.execute(database, "UPDATE courts SET next_probe_time = clock_timestamp()")

    probe = _claimed(database, alpha)
    assert _stopped(database, alpha) is RefusedScope.CLIENT_COURT, "one probe at a time"
    answer(database, probe)
    assert _stopped(database, alpha) is None


# 401 in unknown words.


def _unauthorized(database: Database, number: int, client: str) -> Evidence:
    found = login_blocks.record_unauthorized(
        database, LOGIN, scheduler_driver.number(number), client, good_s_ago=None
    )
    if found is not Evidence.NONE:
        stopped = client if found is Evidence.OF_CLIENT else None
        login_blocks.block_if_rejected(database, LOGIN, "Two cases.", stopped)
    return found


def test_two_rejected_cases_of_one_client_stop_no_other(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    assert _unauthorized(database, 1, "alpha") is Evidence.NONE
    assert _unauthorized(database, 2, "alpha") is Evidence.OF_CLIENT
    assert _unauthorized(database, 3, "alpha") is Evidence.OF_CLIENT

    assert _stopped(database, alpha) is RefusedScope.CLIENT
    assert _stopped(database, beta) is None
    assert login_blocks.troubles(database, LOGIN) == [], "the portal serves others"
    # A good answer of another client decides
    assert login_blocks.clear_unauthorized(database, LOGIN)
    assert _stopped(database, alpha) is None


@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_rejected_case_of_a_second_client_stops_all(
    database: Database, alpha: UUID, beta: UUID, before: int
) -> None:
    for number in range(before):
        _unauthorized(database, number, "alpha")

    assert _unauthorized(database, 9, "beta") is Evidence.OF_SEVERAL

    assert {_stopped(database, alpha), _stopped(database, beta)} == {RefusedScope.PORTAL}
    assert login_blocks.troubles(database, LOGIN)


def test_blocks_of_two_clients_are_a_block_of_all(database: Database, alpha: UUID) -> None:
    assert login_blocks.block_if_rejected(database, LOGIN, "Two cases.", "beta")
    assert _stopped(database, alpha) is None
    assert not login_blocks.block_if_rejected(database, LOGIN, "Two cases.", "beta")

    assert login_blocks.block_if_rejected(database, LOGIN, "Two cases.", "gamma")

    assert _stopped(database, alpha) is RefusedScope.PORTAL


def test_one_case_that_two_clients_request_is_no_evidence(database: Database) -> None:
    for client in ("alpha", "beta", "alpha", "beta"):
        assert _unauthorized(database, 1, client) is Evidence.NONE


def test_after_a_block_of_all_the_first_rejected_case_stops_its_client_only(
    database: Database, alpha: UUID, beta: UUID
) -> None:
    _unauthorized(database, 1, "alpha")
    _unauthorized(database, 2, "beta")
    factories.execute(database, "UPDATE logins SET refused_until = clock_timestamp()")

    assert _unauthorized(database, 1, "alpha") is Evidence.OF_CLIENT
    assert _stopped(database, beta) is None
    assert _unauthorized(database, 2, "beta") is Evidence.OF_SEVERAL
    assert _stopped(database, beta) is RefusedScope.PORTAL


def test_a_block_of_the_only_client_is_a_trouble_of_the_portal(
    database: Database, alpha: UUID
) -> None:
    _unauthorized(database, 1, "alpha")
    _unauthorized(database, 2, "alpha")

    assert login_blocks.troubles(database, LOGIN) == ["Two cases."]
    assert _read(database).portal["closed_until"] is not None


# Without a scheduler, and for callers.


def test_without_a_scheduler_a_stopped_clients_jobs_do_not_hide_those_of_others(
    database: Database,
) -> None:
    stopped = [scheduler_driver.job(database, 1, client="alpha") for _ in range(3)]
    refuse(database, _claimed(database, stopped[0]), FIREWALL)
    beta = scheduler_driver.job(database, 2, client="beta")
    factories.execute(database, "UPDATE portal SET paused_client = 'alpha', eased = NULL")

    assert {document.job_id for document in ask_all(database, context())} == {beta}


@pytest.mark.parametrize("brake", ["pause", "login", "court"])
def test_only_the_jobs_of_a_stopped_client_have_a_hold(
    database: Database, alpha: UUID, beta: UUID, brake: str
) -> None:
    if brake == "pause":
        refuse(database, _claimed(database, alpha), FIREWALL)
    elif brake == "login":
        for number in range(2):
            _unauthorized(database, number, "alpha")
    else:
        _fail(database, alpha)

    holds = Holds(database, LOGIN).of({alpha: COURT, beta: COURT})

    reasons = {"pause": "PORTAL_PAUSED", "login": "CREDENTIALS_REFUSED", "court": "COURT_AWAY"}
    assert {job_id: hold.reason for job_id, hold in holds.items()} == {alpha: reasons[brake]}
