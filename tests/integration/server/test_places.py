"""Test places and estimated ends: published by the leading scheduler, read by servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import redis

from actors.hints.hint_channel import KEY, HintReceiver
from actors.hints.hints import JobEnded, JobWanted, PlaceAsked
from actors.scheduler.policy.scheduler_state import SchedulerState
from actors.scheduler.position_publisher import (
    ASKED_S,
    IDLE_INTERVAL_S,
    INTERVAL_S,
    MOST_SECONDS,
    REST,
    PlacePublisher,
)
from dev.processes.deadline import until
from server.queue.queue_view import ASK_AGAIN_S, NOWHERE, REMIND_S, QueueStatus, QueueView
from storage.listings.listed_case import CaseListing
from storage.postgres.database import Database
from storage.priorities import Priority
from storage.scheduling.published_positions import (
    IDLE_KEY,
    IDLE_LIFETIME_S,
    LIFETIME_S,
    PlaceReader,
    PublishedPlace,
    publish,
)
from storage.scheduling.row_values import JobRow
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import queue_view
from tests.integration.harness.leading_scheduler import LIMITS, leading_scheduler

COURT = "8.26"
WAIT_S = 60.0
AWAY = "redis://127.0.0.1:1/0"


class _Clock:
    """A clock that a test moves, and that moves by `step_s` at each reading."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield the test's Valkey client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def queue(database: Database, client: redis.Redis, redis_url: str) -> Iterator[QueueView]:
    """Yield a server's queue view beside a leading scheduler."""
    with leading_scheduler(database, redis_url) as leadership:
        until(lambda: leadership.term is not None, WAIT_S, "No scheduler leads.")
        yield queue_view(database, client)


def _places(queue: QueueView, *job_ids: UUID) -> dict[UUID, QueueStatus]:
    """Return the places when all are published."""
    seen: dict[UUID, QueueStatus] = {}

    def are_there() -> bool:
        seen.update(queue.places(dict.fromkeys(job_ids, COURT)))
        return all(place.is_published for place in seen.values())

    until(are_there, WAIT_S, "The places are not published.")
    return seen


def _place(queue: QueueView, job_id: UUID) -> QueueStatus:
    return _places(queue, job_id)[job_id]


def _measured(database: Database, request_s: float) -> None:
    factories.execute(
        database,
        "INSERT INTO courts (court, request_s, measured_requests) VALUES (%(court)s, %(s)s, 1000)"
        " ON CONFLICT (court) DO UPDATE SET request_s = excluded.request_s",
        court=COURT,
        s=request_s,
    )


def _seconds_left(place: QueueStatus) -> float:
    assert place.estimated_end_time is not None
    return (place.estimated_end_time - datetime.now(UTC)).total_seconds()


# Place and estimate.


def test_a_job_that_is_served_has_no_place_and_one_that_waits_moves_up(
    database: Database, queue: QueueView
) -> None:
    first, second = factories.listed_job(database, 3), factories.listed_job(database, 3)
    _places(queue, first, second)

    factories.claimed(database, first)

    until(lambda: _place(queue, first).queue_position is None, WAIT_S, "It keeps its place.")
    assert _place(queue, first).estimated_end_time is not None
    until(lambda: _place(queue, second).queue_position == 1, WAIT_S, "It does not move up.")


def test_a_listing_under_way_counts_as_being_served(database: Database, queue: QueueView) -> None:
    view, _ = factories.start(database)
    until(lambda: _place(queue, view.job.job_id).queue_position == 1, WAIT_S, "It has no place.")

    factories.listing_claim(database, view.job.job_id)

    until(
        lambda: _place(queue, view.job.job_id).queue_position is None,
        WAIT_S,
        "It keeps its place.",
    )


def test_an_estimate_follows_from_what_the_court_took(database: Database, queue: QueueView) -> None:
    _measured(database, request_s=60.0)
    job_id = factories.listed_job(database, 50)

    # 50 documents by 5 lanes, a minute each, and the last ones a little longer.
    until(
        lambda: 600 - 60 < _seconds_left(_place(queue, job_id)) < 700, WAIT_S, "Another estimate."
    )


def test_a_file_that_waits_for_its_upload_requests_nothing_of_the_portal(
    database: Database, queue: QueueView
) -> None:
    _measured(database, request_s=60.0)
    job_id = factories.listed_job(database, 1)
    factories.upload(database, factories.claimed(database, job_id))

    def is_nearly_done() -> bool:
        place = _place(queue, job_id)
        # While the request is under way the job has no place either.
        return place.queue_position is None and _seconds_left(place) < 30

    until(is_nearly_done, WAIT_S, "It still waits for the portal.")


def test_of_equals_the_one_that_came_first_is_next(database: Database, queue: QueueView) -> None:
    job_ids = [factories.listed_job(database, 3) for _ in range(5)]

    def positions() -> list[int | None]:
        places = _places(queue, *job_ids)
        return [places[job_id].queue_position for job_id in job_ids]

    until(lambda: positions() == [1, 2, 3, 4, 5], WAIT_S, "Another order.")


def test_bulk_stands_behind_all_others(database: Database, queue: QueueView) -> None:
    bulk = factories.listed_job(database, 3, factories.request(priority=Priority.BULK))
    other = factories.listed_job(database, 3)

    def positions() -> tuple[int | None, int | None]:
        places = _places(queue, bulk, other)
        return places[bulk].queue_position, places[other].queue_position

    until(lambda: positions() == (2, 1), WAIT_S, "Another order.")


def test_ended_jobs_take_no_place(database: Database, queue: QueueView) -> None:
    ended = factories.listed_job(database, CaseListing(0, ()))
    job_id = factories.listed_job(database, 3)

    until(lambda: _place(queue, job_id).queue_position == 1, WAIT_S, "It stands behind another.")
    assert queue.places({ended: COURT}) == {ended: NOWHERE}


def test_what_is_held_has_a_place_and_no_end(database: Database, queue: QueueView) -> None:
    job_id = factories.listed_job(database, 3)
    factories.execute(
        database, "UPDATE portal SET paused_until = clock_timestamp() + interval '5 minutes'"
    )

    until(lambda: _place(queue, job_id).queue_position == 1, WAIT_S, "It has no place.")
    place = _place(queue, job_id)
    assert place.hold is not None
    assert (place.queue_position, place.estimated_end_time) == (1, None)


def test_jobs_of_a_court_that_is_away_stand_in_no_other_jobs_way(
    database: Database, queue: QueueView
) -> None:
    away, here = (
        factories.listed_job(database, 3, factories.request(number))
        for number in ("0000001-11.2025.4.03.0100", "0000001-11.2025.8.26.0100")
    )
    factories.execute(
        database,
        "INSERT INTO courts (court, next_probe_time)"
        " VALUES ('4.03', clock_timestamp() + interval '5 minutes') ON CONFLICT (court)"
        " DO UPDATE SET next_probe_time = excluded.next_probe_time",
    )

    def positions() -> list[int | None]:
        _places(queue, away, here)
        places = queue.places({away: "4.03", here: COURT})
        return [places[away].queue_position, places[here].queue_position]

    until(lambda: positions() == [1, 1], WAIT_S, "Another order.")
    places = queue.places({away: "4.03", here: COURT})
    assert places[away].estimated_end_time is None
    assert places[here].estimated_end_time is not None


def test_a_place_outlives_its_scheduler_and_the_next_one_publishes_it(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    queue = queue_view(database, client)
    job_id = factories.listed_job(database, 3)
    with leading_scheduler(database, redis_url):
        _place(queue, job_id)

    assert queue.places({job_id: COURT})[job_id].is_published
    client.flushdb()
    with leading_scheduler(database, redis_url):
        assert _place(queue, job_id).queue_position == 1


# The published places, and their times.


class _Publisher:
    """A publisher with a clock that a test moves, and its publications."""

    def __init__(self, client: redis.Redis) -> None:
        self.clock = _Clock()
        self.client = client
        self.reader = PlaceReader(client)
        self.state = SchedulerState(LIMITS)
        self.publisher = PlacePublisher(client, clock=self.clock)
        self.publisher.begin_term()

    def want(self, job_id: UUID) -> None:
        """Make the publisher track a job."""
        row = JobRow(job_id, "client", Priority.NORMAL, COURT, str(job_id), self.clock.now)
        self.state.receive(JobWanted(row), self.clock.now)

    def ask(self, *job_ids: UUID) -> None:
        """Request places."""
        self.publisher.receive(PlaceAsked(job_ids))

    def offer(self) -> None:
        """End a pass, and wait until the publications are complete."""
        self.publisher.offer(self.state, self.clock.now)
        until(lambda: self.publisher.is_idle, WAIT_S, "It goes on for ever.")

    def is_idle(self, is_idle: bool) -> bool:
        """End a pass. Return what servers read."""
        self.publisher.publish_idle(is_idle)
        return self.reader.is_idle()

    def published(self, *job_ids: UUID) -> set[UUID]:
        """Return the publications, and clear them."""
        found = set(self.reader.read(job_ids))
        self.client.flushdb()
        return found


@pytest.fixture
def one(client: redis.Redis) -> Iterator[_Publisher]:
    """Return a publisher in the first pass of its term."""
    one = _Publisher(client)
    one.publisher.start()
    yield one
    one.publisher.stop()


def test_servers_know_whether_new_jobs_are_served_at_once_until_that_is_old(
    one: _Publisher, client: redis.Redis
) -> None:
    assert not one.reader.is_idle()
    assert [one.is_idle(each) for each in (True, False, True)] == [True, False, True]

    client.delete(IDLE_KEY)
    assert not one.is_idle(True)
    one.clock.now += IDLE_INTERVAL_S
    assert one.is_idle(True)
    assert 0 < client.ttl(IDLE_KEY) <= IDLE_LIFETIME_S


def test_places_that_no_server_requested_are_not_published(one: _Publisher) -> None:
    requested, other = uuid4(), uuid4()
    one.want(requested)
    one.want(other)
    one.ask(requested)

    one.offer()

    assert one.published(requested, other) == {requested}


def test_a_job_requested_first_is_published_at_once_and_then_in_rounds(one: _Publisher) -> None:
    first, second = uuid4(), uuid4()
    one.want(first)
    one.want(second)
    one.ask(first)
    one.offer()
    assert one.published(first) == {first}

    one.ask(first, second)
    one.offer()
    assert one.published(first, second) == {second}
    one.offer()
    assert one.published(first, second) == set()
    one.clock.now += INTERVAL_S
    one.offer()
    assert one.published(first, second) == {first, second}


def test_a_job_requested_before_it_is_read_is_published_once_it_is(
    one: _Publisher,
) -> None:
    known, late = uuid4(), uuid4()
    one.want(known)
    one.ask(known)
    one.offer()
    one.ask(late)
    one.offer()
    assert one.published(known, late) == {known}

    one.want(late)
    one.offer()

    assert one.published(known, late) == {late}


def test_a_forecast_that_took_long_is_published_again_before_the_next_one(
    one: _Publisher,
) -> None:
    old, new = uuid4(), uuid4()
    one.want(old)
    one.ask(old)
    # Given a forecast of a second
    one.clock.step_s = 1.0
    one.offer()
    one.clock.step_s = 0.0
    assert one.published(old) == {old}

    one.want(new)
    one.ask(new)
    one.clock.now += INTERVAL_S
    one.offer()
    assert one.published(old, new) == {old}
    one.clock.now += REST * 1.0
    one.offer()
    assert one.published(old, new) == {old, new}


def test_a_job_that_no_server_requests_any_more_is_not_published(one: _Publisher) -> None:
    left, kept = uuid4(), uuid4()
    one.want(left)
    one.want(kept)
    one.ask(left, kept)
    one.offer()
    one.published(left, kept)
    one.clock.now += ASKED_S
    one.ask(kept)
    one.clock.now += 0.1

    one.offer()

    assert one.published(left, kept) == {kept}


def test_a_job_that_has_ended_is_not_published(one: _Publisher) -> None:
    ended, other = uuid4(), uuid4()
    one.want(ended)
    one.want(other)
    one.ask(ended, other)
    one.state.receive(JobEnded(ended), one.clock.now)

    one.offer()

    assert one.published(ended, other) == {other}


def test_an_end_beyond_the_calendar_is_unknown(database: Database, client: redis.Redis) -> None:
    job_id = uuid4()
    publish(client, {job_id: PublishedPlace(1, MOST_SECONDS * 10)})

    assert queue_view(database, client).places({job_id: COURT})[job_id] == QueueStatus(
        1, is_published=True
    )


def test_a_place_that_is_not_published_anew_is_gone_soon(client: redis.Redis) -> None:
    job_id = uuid4()

    publish(client, {job_id: PublishedPlace(1, 2.5)})

    assert PlaceReader(client).read([job_id]) == {job_id: PublishedPlace(1, 2.5)}
    (key,) = client.keys("autos:place:*")
    assert 0 < client.ttl(key) <= LIFETIME_S


# Requests of servers.


def test_a_server_requests_a_place_at_intervals(database: Database, client: redis.Redis) -> None:
    clock, job_id = _Clock(), uuid4()
    queue = queue_view(database, client, clock=clock)
    receiver = HintReceiver(client)

    queue.places({job_id: COURT})
    assert receiver.receive(0) == [PlaceAsked((job_id,))]
    queue.places({job_id: COURT})
    assert receiver.receive(0) == []
    clock.now += ASK_AGAIN_S
    queue.places({job_id: COURT})
    assert receiver.receive(0) == [PlaceAsked((job_id,))]
    publish(client, {job_id: PublishedPlace(1, None)})
    clock.now += ASK_AGAIN_S
    queue.places({job_id: COURT})
    assert receiver.receive(0) == []
    clock.now += REMIND_S
    queue.places({job_id: COURT})
    assert receiver.receive(0) == [PlaceAsked((job_id,))]


def test_places_of_new_jobs_without_a_waiting_call_are_not_requested(
    database: Database, client: redis.Redis
) -> None:
    job_id = uuid4()

    assert queue_view(database, client).held({job_id: COURT}) == {job_id: NOWHERE}
    assert client.llen(KEY) == 0


def test_what_is_no_place_is_unknown(client: redis.Redis) -> None:
    job_id = uuid4()
    publish(client, {job_id: PublishedPlace(1, None)})
    (key,) = client.keys("autos:place:*")
    for text in ("", "{", "[1]", '["x", 2]', "null"):
        client.set(key, text)
        assert PlaceReader(client).read([job_id]) == {}


def test_without_valkey_holds_are_shown_and_nothing_breaks(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    factories.execute(
        database, "UPDATE portal SET paused_until = clock_timestamp() + interval '5 minutes'"
    )
    with redis.Redis.from_url(AWAY, retry=None) as away:
        queue = queue_view(database, away)

        place = queue.places({job_id: COURT})[job_id]

        assert queue.is_quiet, "a Valkey that is away must not hold up every answer"
    assert place.hold is not None
    assert place == QueueStatus(hold=place.hold)


def test_publishing_goes_on_when_valkey_is_back(client: redis.Redis) -> None:
    one = _Publisher(redis.Redis.from_url(AWAY, retry=None))
    job_id = uuid4()
    one.want(job_id)
    one.ask(job_id)
    one.publisher.start()
    try:
        one.offer()
        one.publisher._client = client
        one.clock.now += INTERVAL_S
        one.offer()
    finally:
        one.publisher.stop()

    assert set(PlaceReader(client).read([job_id])) == {job_id}
