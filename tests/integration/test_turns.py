"""Turns: time at the portal is shared by client, then by job; BULK takes what is left."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from storage import jobs, repairs, tasks
from storage.claims import Claim
from storage.database import Database
from storage.latencies import record_times
from storage.steps import SLICE_S
from storage.tasks import Asking
from tests.integration import guest, scenes
from tests.integration.guest import answer, ask, asking
from tests.integration.scenes import CLIENT


def _served(database: Database, by: Asking, requests: int) -> list[UUID]:
    """The jobs of so many requests, each answered before the next is made."""
    found = []
    for _ in range(requests):
        claim = ask(database, by)
        assert isinstance(claim, Claim)
        found.append(claim.job_id)
        answer(database, claim)
    return found


def test_clients_have_equal_turns_however_many_jobs_they_have(database: Database) -> None:
    many = {guest.job(database, 20, client="many") for _ in range(5)}
    few = guest.job(database, 20, client="few")

    served = Counter(_served(database, asking(), 20))

    assert served[few] == 10
    assert sum(served[job_id] for job_id in many) == 10


def _next(database: Database, count: int) -> list[UUID]:
    """The jobs of what so many ask for together, whose requests are over then."""
    found, _ = tasks.next_claims(database, asking(), count)
    for claim in found:
        assert isinstance(claim, Claim)
        answer(database, claim)
    return [claim.job_id for claim in found]


def test_who_asks_together_gets_what_each_would_get_by_himself(database: Database) -> None:
    jobs_ = [guest.job(database, 20) for _ in range(3)]

    together = [job_id for _ in range(3) for job_id in _next(database, 4)]

    assert Counter(together) == dict.fromkeys(jobs_, 4)
    assert [*map(set, (together[:3], together[3:6]))] == [set(jobs_)] * 2


def test_a_job_has_no_more_than_a_slice_in_one_turn_and_pays_for_it(database: Database) -> None:
    quick, other = guest.job(database, 40), guest.job(database, 40)
    record_times(database, {"8.26": (SLICE_S / 3, 1)})

    first, second = _next(database, 4), _next(database, 4)

    assert first == [quick] * 3 + [other], "three requests of a third of a slice each"
    assert second == [other] * 3 + [quick], "who had more waits longer"


def test_jobs_of_a_client_have_equal_turns_however_long_they_are(database: Database) -> None:
    long = guest.job(database, 60)
    short = [guest.job(database, 4) for _ in range(3)]

    served = _served(database, asking(), 16)

    assert Counter(served) == {long: 4, **dict.fromkeys(short, 4)}
    assert served[:4] == [long, *short], "of equals the one that came first"


def test_a_job_that_comes_late_is_served_next_and_owed_nothing(database: Database) -> None:
    long = guest.job(database, 60)
    _served(database, asking(), 30)

    short = guest.job(database, 10)

    served = _served(database, asking(), 10)
    assert short in served[:2]
    assert served.count(short) == 5, "it must not make up for the time before it came"
    assert served.count(long) == 5


def test_a_client_that_comes_back_is_owed_nothing(database: Database) -> None:
    guest.job(database, 90, client="old")
    away = guest.job(database, 1, client="away")
    _served(database, asking(), 40)
    assert scenes.job(database, away)["end_time"]

    back = guest.job(database, 20, client="away")

    assert _served(database, asking(), 10).count(back) in (5, 6)


def test_a_job_that_waited_for_something_else_is_owed_nothing(database: Database) -> None:
    held = guest.job(database, 30, court="8.19")
    other = guest.job(database, 60, court="8.26")
    scenes.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time)"
        " VALUES ('8.19', 9, clock_timestamp(), clock_timestamp() + interval '1 hour')",
    )
    assert set(_served(database, asking(), 20)) == {other}

    scenes.execute(database, "DELETE FROM courts")

    assert _served(database, asking(), 10).count(held) in (5, 6)


def test_a_high_job_has_four_turns_where_a_normal_one_has_one(database: Database) -> None:
    normal, high = guest.job(database, 60), guest.job(database, 60)
    _prioritize(database, high, "HIGH")

    served = Counter(_served(database, asking(), 25))

    assert served == {high: 20, normal: 5}


def test_bulk_takes_only_what_is_left_by_every_client(database: Database) -> None:
    bulk = guest.job(database, 60, client="one")
    _prioritize(database, bulk, "BULK")
    normal = guest.job(database, 8, client="two")

    served = _served(database, asking(), 12)

    assert served[:8] == [normal] * 8
    assert served[8:] == [bulk] * 4


def test_bulk_uses_slots_that_nobody_wants(database: Database) -> None:
    bulk = guest.job(database, 60)
    _prioritize(database, bulk, "BULK")
    guest.job(database, 2)

    taken = Counter(c.job_id for c in guest.ask_all(database, asking()))

    assert taken[bulk] == 4, "the court's six less the two that a normal job wants"


def test_a_slow_court_costs_its_jobs_turns_in_proportion(database: Database) -> None:
    slow = guest.job(database, 60, court="8.19")
    quick = guest.job(database, 60, court="8.26")
    scenes.execute(
        database,
        "INSERT INTO courts (court, request_s) VALUES ('8.19', 2.0), ('8.26', 0.5)",
    )

    served = Counter(_served(database, asking(), 25))

    assert served == {slow: 5, quick: 20}, "time at the portal is shared, not requests"


def test_nobody_starves_among_many(database: Database) -> None:
    each = [guest.job(database, 3, client=f"client {i % 7}") for i in range(28)]

    served = _served(database, asking(), 84)

    assert Counter(served) == dict.fromkeys(each, 3)
    assert len(set(served[:28])) == 28, "everybody once before anybody twice"


def test_an_ended_job_leaves_the_queue(database: Database) -> None:
    job_id = guest.job(database, 3)
    jobs.cancel(database, CLIENT, job_id)

    assert ask(database, asking()) is None
    assert _turns(database) == set()


def test_jobs_of_an_older_release_get_their_turns(database: Database) -> None:
    # Given a job begun and a job ended by processes that know no turns
    begun, ended = guest.job(database, 1), guest.job(database, 1)
    scenes.execute(database, "DELETE FROM turns WHERE job_id = %(id)s", id=begun)
    with database.transaction() as transaction:
        turn = transaction.only("SELECT * FROM turns WHERE job_id = %(id)s", id=ended)
    jobs.cancel(database, CLIENT, ended)
    scenes.execute(
        database,
        "INSERT INTO turns (job_id, client, court, is_bulk, weight, pass)"
        " VALUES (%(job_id)s, %(client)s, %(court)s, %(is_bulk)s, %(weight)s, %(pass)s)",
        **turn,
    )
    assert ask(database, asking()) is None

    assert repairs.mend_turns(database) == 2

    assert _turns(database) == {begun}
    claim = ask(database, asking())
    assert isinstance(claim, Claim)
    assert claim.job_id == begun
    assert repairs.mend_turns(database) == 0


def _turns(database: Database) -> set[UUID]:
    with database.transaction() as transaction:
        return {row["job_id"] for row in transaction.all("SELECT job_id FROM turns")}


def _prioritize(database: Database, job_id: UUID, priority: str) -> None:
    scenes.execute(
        database,
        "UPDATE jobs SET priority = %(p)s WHERE job_id = %(id)s;"
        " DELETE FROM turns WHERE job_id = %(id)s",
        p=priority,
        id=job_id,
    )
    repairs.mend_turns(database)
