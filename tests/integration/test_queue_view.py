"""The queue as callers see it: places, estimates and holds from the rows, one look for many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from storage import jobs
from storage.database import Database
from storage.errors import PermanentError
from storage.listing import CaseListing
from storage.objects import Objects
from storage.portal import attempts
from storage.priorities import Priority
from storage.queue_view import LOOK_S, NOWHERE, Place, QueueView
from storage.slots import Limits
from storage.states import JobState
from tests.integration import scenes
from tests.integration.scenes import CLIENT, LOGIN, POLICY
from tests.integration.together import together

LIMITS = Limits(at_once=10, per_court=6, lanes=5)
UNKNOWN = PermanentError("NOT_FOUND", "The portal does not know this case.")
PATIENCE_S = 30.0
AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


class _Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _place(database: Database, job_id: UUID) -> Place:
    return QueueView(database, LIMITS, LOGIN).places([job_id])[job_id]


def _pause(database: Database, seconds: float) -> None:
    scenes.execute(
        database,
        "UPDATE portal SET paused_until = clock_timestamp() + %(s)s * interval '1 second'",
        s=seconds,
    )


def _court(database: Database, court: str, *, request_s: float, probe_in_s: float | None) -> None:
    scenes.execute(
        database,
        "INSERT INTO courts (court, request_s, measured_requests, next_probe_time)"
        " VALUES (%(court)s, %(request_s)s, 1000,"
        " clock_timestamp() + %(probe)s * interval '1 second') ON CONFLICT (court) DO UPDATE"
        " SET request_s = excluded.request_s, next_probe_time = excluded.next_probe_time",
        court=court,
        request_s=request_s,
        probe=probe_in_s,
    )


def _refused(database: Database, seconds: float) -> None:
    scenes.execute(
        database,
        "INSERT INTO logins (login_key, refused_fingerprint, refused_reason, refused_until)"
        " VALUES (%(key)s, %(print)s, 'no', clock_timestamp() + %(s)s * interval '1 second')",
        key=LOGIN.key,
        print=LOGIN.fingerprint,
        s=seconds,
    )


def _seconds_left(place: Place) -> float:
    assert place.estimated_end_time is not None
    return (place.estimated_end_time - datetime.now(UTC)).total_seconds()


# Place and estimate


def test_who_is_served_has_no_place_and_who_waits_moves_up(database: Database) -> None:
    first, second = scenes.listed_job(database, 3), scenes.listed_job(database, 3)
    scenes.claimed(database, first)

    places = QueueView(database, LIMITS, LOGIN).places([first, second])

    assert places[first].queue_position is None
    assert places[first].estimated_end_time is not None
    assert places[second].queue_position == 1


def test_a_listing_under_way_counts_as_being_served(database: Database) -> None:
    view, _ = scenes.start(database)
    assert _place(database, view.job.job_id).queue_position == 1

    scenes.listing_claim(database, view.job.job_id)

    assert _place(database, view.job.job_id).queue_position is None


def test_an_estimate_follows_from_what_the_court_took(database: Database) -> None:
    _court(database, "8.26", request_s=60.0, probe_in_s=None)
    job_id = scenes.listed_job(database, 50)

    # 50 documents by 5 lanes, a minute each, and the last ones a little longer.
    assert 600 - 10 < _seconds_left(_place(database, job_id)) < 700


def test_a_file_that_waits_for_its_upload_asks_nothing_of_the_portal(database: Database) -> None:
    _court(database, "8.26", request_s=60.0, probe_in_s=None)
    job_id = scenes.listed_job(database, 1)
    scenes.upload(database, scenes.claimed(database, job_id))

    place = _place(database, job_id)

    assert place.queue_position is None
    assert _seconds_left(place) < 30


def test_of_equals_the_one_that_came_first_is_next(database: Database) -> None:
    job_ids = [scenes.listed_job(database, 3) for _ in range(5)]

    places = QueueView(database, LIMITS, LOGIN).places(job_ids)

    assert [places[job_id].queue_position for job_id in job_ids] == [1, 2, 3, 4, 5]


def test_bulk_stands_behind_all_others(database: Database) -> None:
    bulk = scenes.listed_job(database, 3, scenes.request(priority=Priority.BULK))
    other = scenes.listed_job(database, 3)

    places = QueueView(database, LIMITS, LOGIN).places([bulk, other])

    assert (places[bulk].queue_position, places[other].queue_position) == (2, 1)


def test_ended_jobs_take_no_place(database: Database) -> None:
    ended = scenes.listed_job(database, CaseListing(0, ()))
    job_id = scenes.listed_job(database, 3)

    places = QueueView(database, LIMITS, LOGIN).places([ended, job_id])

    assert places[ended] == NOWHERE
    assert places[job_id].queue_position == 1


def test_a_job_beyond_the_calendar_has_no_estimate(database: Database) -> None:
    _court(database, "8.26", request_s=1e12, probe_in_s=None)

    place = _place(database, scenes.listed_job(database, 3))

    assert (place.queue_position, place.estimated_end_time) == (1, None)


# Holds


def test_a_pause_of_the_portal_holds_every_job(database: Database) -> None:
    job_id = scenes.listed_job(database, 3)
    _pause(database, 300)

    place = _place(database, job_id)

    assert place.hold is not None
    assert place.hold.reason == "PORTAL_PAUSED"
    assert place.hold.until_time is not None
    assert timedelta(0) < place.hold.until_time - datetime.now(UTC) <= timedelta(seconds=300)
    assert (place.queue_position, place.estimated_end_time) == (1, None)


def test_a_pause_that_is_over_holds_nobody(database: Database) -> None:
    job_id = scenes.listed_job(database, 3)
    _pause(database, -1)
    _refused(database, -1)

    place = _place(database, job_id)

    assert place.hold is None
    assert place.estimated_end_time is not None


def test_a_court_that_is_away_holds_its_own_jobs_only(database: Database) -> None:
    away, here = (
        scenes.listed_job(database, 3, scenes.request(number))
        for number in ("0000001-11.2025.4.03.0100", "0000001-11.2025.8.26.0100")
    )
    _court(database, "4.03", request_s=1, probe_in_s=300)

    places = QueueView(database, LIMITS, LOGIN).places([away, here])

    assert (places[away].hold or pytest.fail("not held")).reason == "COURT_AWAY"
    assert "4.03" in (places[away].hold or pytest.fail("not held")).message
    assert (places[away].queue_position, places[away].estimated_end_time) == (1, None)
    assert (places[here].queue_position, places[here].hold) == (1, None)
    assert places[here].estimated_end_time is not None


def test_a_probe_that_is_due_is_not_told_as_past(database: Database) -> None:
    job_id = scenes.listed_job(database, 3)
    begun = datetime.now(UTC)
    _court(database, "8.26", request_s=1, probe_in_s=-60)

    hold = _place(database, job_id).hold

    assert hold is not None
    assert hold.until_time is not None
    assert hold.until_time >= begun


def test_refused_credentials_hold_every_job_and_are_told_first(database: Database) -> None:
    job_id = scenes.listed_job(database, 3)
    _pause(database, 300)
    _court(database, "8.26", request_s=1, probe_in_s=300)
    _refused(database, 900)

    hold = _place(database, job_id).hold

    assert hold is not None
    assert hold.reason == "CREDENTIALS_REFUSED"


def test_what_wants_nothing_of_the_portal_is_not_held(database: Database) -> None:
    job_id = scenes.listed_job(database, 1)
    scenes.upload(database, scenes.claimed(database, job_id))
    _pause(database, 300)

    assert _place(database, job_id).hold is None


# One look for many


def test_one_look_serves_all_who_ask_soon(database: Database) -> None:
    clock = _Clock()
    queue = QueueView(database, LIMITS, LOGIN, clock=clock)
    first = scenes.listed_job(database, 3)
    queue.places([first])
    second = scenes.listed_job(database, 3)

    assert queue.places([second]) == {second: NOWHERE}
    assert queue.seen([first]) == queue.places([first])
    clock.now += LOOK_S

    assert not queue.is_fresh
    assert queue.places([second])[second] != NOWHERE


def test_nobody_looks_when_no_running_job_is_asked_for(database: Database) -> None:
    queue = QueueView(database, LIMITS, LOGIN)

    assert queue.places([]) == {}
    assert not queue.is_fresh


def test_many_who_ask_at_once_get_the_same_answer(database: Database) -> None:
    job_ids = [scenes.listed_job(database, 3) for _ in range(5)]
    queue = QueueView(database, LIMITS, LOGIN)

    answers = together([partial(queue.places, job_ids)] * 20)

    assert all(answer == answers[0] for answer in answers)
    assert {place.queue_position for place in answers[0].values()} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("has_looked", [True, False])
def test_who_finds_somebody_looking_takes_what_was_seen_if_anything_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, has_looked: bool
) -> None:
    clock = _Clock()
    queue = QueueView(database, LIMITS, LOGIN, clock=clock)
    job_id = scenes.listed_job(database, 3)
    before = queue.places([job_id]) if has_looked else None
    clock.now += LOOK_S
    real, is_looking, may = queue._look, threading.Event(), threading.Event()

    def held() -> object:
        is_looking.set()
        assert may.wait(PATIENCE_S)
        return real()

    monkeypatch.setattr(queue, "_look", held)
    with ThreadPoolExecutor(2) as pool:
        looking = pool.submit(queue.places, [job_id])
        assert is_looking.wait(PATIENCE_S)
        was_fresh = queue.is_fresh
        asking = pool.submit(queue.places, [job_id])
        done, _ = wait([asking], timeout=PATIENCE_S if has_looked else 0.1)
        may.set()
        seen = looking.result(PATIENCE_S)
        assert asking.result(PATIENCE_S) == (before or seen)

    assert was_fresh == has_looked
    assert bool(done) == has_looked


def test_without_postgresql_nobody_is_told_a_place_and_nothing_breaks() -> None:
    queue = QueueView(Database(AWAY, max_connections=1), LIMITS, LOGIN)
    job_id = uuid4()

    assert queue.places([job_id]) == {job_id: NOWHERE}
    assert queue.is_fresh, "a server that is away must not hold up every answer"


# Priorities


def test_a_job_has_the_priority_that_was_asked_for(database: Database) -> None:
    views = [
        scenes.start(database, scenes.request(priority=priority))[0] for priority in list(Priority)
    ]

    assert [view.job.priority for view in views] == ["HIGH", "NORMAL", "BULK"]


@pytest.mark.parametrize(
    ("has", "asked", "then"),
    [
        (Priority.BULK, Priority.NORMAL, Priority.NORMAL),
        (Priority.BULK, Priority.HIGH, Priority.HIGH),
        (Priority.NORMAL, Priority.HIGH, Priority.HIGH),
        (Priority.NORMAL, Priority.BULK, Priority.NORMAL),
        (Priority.HIGH, Priority.NORMAL, Priority.HIGH),
        (Priority.HIGH, Priority.HIGH, Priority.HIGH),
    ],
)
def test_a_join_raises_a_priority_and_never_lowers_it(
    database: Database, has: Priority, asked: Priority, then: Priority
) -> None:
    wanted = scenes.request(priority=has)
    before, _ = scenes.start(database, wanted)

    after, is_new = scenes.start(database, scenes.request(wanted.process_number, priority=asked))

    assert not is_new
    assert after.job.priority == then
    assert after.job.revision == before.job.revision + (then is not has)
    assert jobs.get(database, CLIENT, before.job.job_id) == after


def test_joins_at_the_same_moment_leave_the_highest_priority(database: Database) -> None:
    wanted = scenes.request(priority=Priority.BULK)
    view, _ = scenes.start(database, wanted)
    asked = [Priority.NORMAL, Priority.HIGH, Priority.BULK] * 5

    together(
        [
            partial(scenes.start, database, scenes.request(wanted.process_number, priority=p))
            for p in asked
        ]
    )

    assert jobs.get(database, CLIENT, view.job.job_id).job.priority == "HIGH"


def test_the_frozen_end_and_the_next_run_of_a_job_keep_its_priority(
    database: Database, objects: Objects
) -> None:
    wanted = scenes.request(priority=Priority.HIGH, webhook_url=scenes.HOOK)
    view, _ = scenes.start(database, wanted)
    job_id = view.job.job_id
    attempts.fail_attempt(database, scenes.listing_claim(database, job_id), UNKNOWN, POLICY)

    again, _ = scenes.rerun(database, objects, job_id)

    (event,) = scenes.events(database, job_id)
    assert event["job"]["state"] == JobState.FAILED
    assert (event["job"]["priority"], event["job"]["vanished_document_ids"]) == ("HIGH", [])
    assert again.job.priority == "HIGH"
