"""What the clock finds and repairs: told by the messages that it sends through a real Redis."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, pairwise
from types import SimpleNamespace
from uuid import UUID, uuid4

import dramatiq
import pytest
import redis
from actors.clock import Clock

from actors.enqueue import DOWNLOAD_QUEUE, LIST_QUEUE, WEBHOOK_QUEUE, Messages, make_broker
from actors.enqueue import upload_queue as upload_queue_of
from storage import jobs, repairs, webhooks
from storage.claims import Claim
from storage.database import Database
from storage.documents.leases import renew_leases
from storage.documents.uploads import postpone_upload
from storage.errors import ServiceUnavailable
from storage.portal import attempts
from storage.repairs import BATCH, NUDGE_CAP_S
from storage.retries import LOST_LEASES
from tests.integration import scenes
from tests.integration.scenes import ASKING, BUSY, CLIENT, HOOK, LANES, PDF, POLICY
from tests.integration.together import together

# After this long every job that was never told to move is told.
QUIET_S = 6
# Longer than any interval between two looks.
LONG_S = NUDGE_CAP_S + 1
# After this long without a heartbeat a spool counts as dead.
SPOOL_DEAD_S = 31


@dataclass
class Bench:
    """A clock and the queues that it fills."""

    database: Database
    clock: Clock
    redis: redis.Redis

    def sent(self) -> list[tuple[str, tuple[object, ...]]]:
        """The messages in all queues as (queue, ids), and none are left."""
        found = []
        for key in sorted(self.redis.scan_iter("autos:*.msgs")):
            for raw in self.redis.hvals(key):
                assert isinstance(raw, bytes)
                message = dramatiq.Message.decode(raw)
                found.append((message.queue_name, message.args))
            self.redis.delete(key, key.removesuffix(b".msgs"))
        return found

    def tick(self) -> list[tuple[str, tuple[object, ...]]]:
        """What one pass sends."""
        self.clock.tick()
        return self.sent()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The Redis of the test, in which the clock has been before."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _clock(database: Database, client: redis.Redis, redis_url: str) -> Clock:
    messages = Messages(make_broker(redis_url, timeout_s=5))
    return Clock(
        database=database,
        redis=client,
        messages=messages,
        asking=replace(ASKING, lease_s=15),
        interval_s=0.05,
        retire_after_s=0,
    )


@pytest.fixture
def bench(database: Database, client: redis.Redis, redis_url: str) -> Bench:
    """A clock that has ticked once, so that Redis counts as known."""
    bench = Bench(database, _clock(database, client, redis_url), client)
    assert bench.tick() == []
    return bench


def _listing(job_id: UUID) -> tuple[str, tuple[object, ...]]:
    return LIST_QUEUE, (str(job_id),)


def _lane(job_id: UUID) -> tuple[str, tuple[object, ...]]:
    return DOWNLOAD_QUEUE, (str(job_id),)


def _upload(claim: Claim, spool_id: UUID) -> tuple[str, tuple[object, ...]]:
    ids = (str(claim.job_id), str(claim.document_id), str(claim.lease))
    return upload_queue_of(spool_id), ids


# Jobs without a sign of life


def test_a_job_that_never_started_is_listed(bench: Bench) -> None:
    view, _ = scenes.start(bench.database, scenes.request(webhook_url=HOOK))
    assert bench.tick() == [], "a young job's own message is still on its way"

    scenes.age(bench.database, view.job.job_id, QUIET_S)

    assert bench.tick() == [_listing(view.job.job_id)]


def test_a_listing_whose_lease_ran_out_is_asked_for_again(bench: Bench) -> None:
    view, _ = scenes.start(bench.database)
    scenes.listing_claim(bench.database, view.job.job_id, lease_s=LONG_S)
    scenes.age(bench.database, view.job.job_id, QUIET_S)
    assert bench.tick() == [], "its worker is alive"

    scenes.age(bench.database, view.job.job_id, LONG_S)

    assert bench.tick() == [_listing(view.job.job_id)]


def test_a_listing_is_not_asked_for_before_its_next_attempt_is_due(bench: Bench) -> None:
    view, _ = scenes.start(bench.database)
    claim = scenes.listing_claim(bench.database, view.job.job_id)
    attempts.give_back(bench.database, claim, delay_s=LONG_S)
    scenes.age(bench.database, view.job.job_id, QUIET_S)
    assert bench.tick() == []

    scenes.age(bench.database, view.job.job_id, LONG_S)

    assert bench.tick() == [_listing(view.job.job_id)]


@pytest.mark.parametrize(("documents", "lanes"), [(1, 1), (4, 4), (40, LANES)])
def test_all_lanes_lost_are_started_again(bench: Bench, documents: int, lanes: int) -> None:
    job_id = scenes.listed_job(bench.database, documents)
    scenes.age(bench.database, job_id, QUIET_S)

    assert bench.tick() == [_lane(job_id)] * lanes


def test_some_lanes_lost_are_started_while_one_still_works(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 40)
    scenes.claimed(bench.database, job_id)
    scenes.age(bench.database, job_id, QUIET_S)

    assert bench.tick() == [_lane(job_id)] * (LANES - 1)


def test_a_job_with_all_its_lanes_at_work_is_left_alone(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 40)
    for _ in range(LANES):
        scenes.claimed(bench.database, job_id, lease_s=3_600)
    scenes.age(bench.database, job_id, QUIET_S)

    assert bench.tick() == []


def test_a_job_whose_documents_all_wait_is_left_alone_until_they_are_due(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 2)
    for _ in range(2):
        claim = scenes.claimed(bench.database, job_id)
        attempts.give_back(bench.database, claim, delay_s=LONG_S)
    scenes.age(bench.database, job_id, QUIET_S)
    assert bench.tick() == []

    scenes.age(bench.database, job_id, LONG_S)

    assert bench.tick() == [_lane(job_id)] * 2


def test_an_ended_job_is_left_alone(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 3)
    jobs.cancel(bench.database, CLIENT, job_id)
    scenes.age(bench.database, job_id, 9_999)

    assert bench.tick() == []


# Claims of those that are gone


def test_a_lost_worker_loses_its_documents_and_the_job_its_standstill(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 2)
    held = [scenes.claimed(bench.database, job_id, lease_s=15) for _ in range(2)]
    assert bench.tick() == []

    scenes.age(bench.database, job_id, 16)
    sent = bench.tick()

    assert set(sent) == {_lane(job_id)}
    rows = scenes.documents(bench.database, job_id)
    assert [(d["state"], d["lost_lease_count"]) for d in rows] == [("PENDING", 1)] * 2
    assert repairs.unowned(bench.database, [c.lease for c in held]) == {c.lease for c in held}


def test_the_fifth_lost_worker_ends_the_document_and_its_job(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 1, scenes.request(webhook_url=HOOK))
    for _ in range(LOST_LEASES):
        scenes.claimed(bench.database, job_id, lease_s=-1)
        sent = bench.tick()

    assert scenes.job(bench.database, job_id)["state"] == "FAILED"
    assert (WEBHOOK_QUEUE, (str(job_id), 0)) in sent


def test_a_file_in_a_dead_spool_is_fetched_again_and_nothing_is_burnt(bench: Bench) -> None:
    spool_id = scenes.living_spool(bench.database)
    job_id = scenes.listed_job(bench.database, 2)
    scenes.spooled(bench.database, scenes.claimed(bench.database, job_id, spool_id=spool_id), PDF)
    uploading = scenes.claimed(bench.database, job_id, spool_id=spool_id)
    scenes.upload(bench.database, uploading)
    assert bench.tick() == []

    scenes.age(bench.database, job_id, 61)
    _silence(bench.database, spool_id, SPOOL_DEAD_S - 20)
    bench.tick()
    assert scenes.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"

    _silence(bench.database, spool_id, 20)
    sent = bench.tick()

    assert _lane(job_id) in sent
    rows = scenes.documents(bench.database, job_id)
    assert [(d["state"], d["lost_lease_count"]) for d in rows] == [("PENDING", 0)] * 2


def _silence(database: Database, spool_id: UUID, seconds: float) -> None:
    scenes.execute(
        database,
        "UPDATE spools SET heartbeat_time = heartbeat_time - %(s)s * interval '1 second'"
        " WHERE spool_id = %(id)s",
        s=seconds,
        id=spool_id,
    )


def test_the_queue_of_a_dead_spool_is_retired_once_its_files_are_taken_back(bench: Bench) -> None:
    spool_id = scenes.living_spool(bench.database)
    job_id = scenes.listed_job(bench.database, 1)
    scenes.spooled(bench.database, scenes.claimed(bench.database, job_id, spool_id=spool_id), PDF)
    queue = f"autos:{upload_queue_of(spool_id)}"
    bench.clock.messages.upload(spool_id, job_id, uuid4(), uuid4())

    bench.clock.tick()
    assert bench.redis.llen(queue) == 1
    _silence(bench.database, spool_id, SPOOL_DEAD_S)
    bench.clock.tick()
    assert bench.redis.llen(queue) == 1, "the clock has seen it dead for a moment only"
    bench.clock.tick()

    assert not bench.redis.exists(queue, f"{queue}.msgs")
    spools = scenes.execute(bench.database, "SELECT FROM spools WHERE spool_id = %(i)s", i=spool_id)
    assert spools == 0


def test_the_queue_of_a_spool_that_is_silent_for_a_moment_stays(bench: Bench) -> None:
    # As after PostgreSQL was away, or was restored
    spool_id = scenes.living_spool(bench.database)
    bench.clock.messages.upload(spool_id, uuid4(), uuid4(), uuid4())
    _silence(bench.database, spool_id, 3 * SPOOL_DEAD_S)
    bench.clock.retire_after_s = 3_600

    bench.clock.tick()
    bench.clock.tick()

    assert bench.redis.llen(f"autos:{upload_queue_of(spool_id)}") == 1


def test_the_queue_of_a_spool_that_gives_a_sign_of_life_while_it_is_retired_stays(
    bench: Bench,
) -> None:
    spool_id = scenes.living_spool(bench.database)
    bench.clock.messages.upload(spool_id, uuid4(), uuid4(), uuid4())
    _silence(bench.database, spool_id, SPOOL_DEAD_S)
    assert repairs.dead_spools(bench.database) == [spool_id]

    repairs.beat(bench.database, spool_id, "")

    def drop() -> bool:
        return bench.clock.messages.drop_uploads(spool_id)

    assert not repairs.retire_spool(bench.database, spool_id, drop)
    assert bench.redis.llen(f"autos:{upload_queue_of(spool_id)}") == 1


def test_a_spool_that_never_gave_a_sign_of_life_is_dead(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 1)
    scenes.spooled(bench.database, scenes.claimed(bench.database, job_id), PDF)

    assert _lane(job_id) in bench.tick()


def test_a_living_spool_keeps_its_files_however_long_they_wait(bench: Bench) -> None:
    spool_id = scenes.living_spool(bench.database)
    job_id = scenes.listed_job(bench.database, 1)
    claim = scenes.claimed(bench.database, job_id, spool_id=spool_id)
    scenes.spooled(bench.database, claim, PDF)

    scenes.age(bench.database, job_id, 9_999)
    scenes.execute(
        bench.database,
        "UPDATE jobs SET deadline_time = clock_timestamp() + interval '1 hour'",
    )

    assert bench.tick() == [_upload(claim, spool_id)]
    assert scenes.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"


def test_an_upload_that_nobody_makes_is_asked_for_by_its_spool(bench: Bench) -> None:
    first, second = (scenes.living_spool(bench.database) for _ in range(2))
    job_id = scenes.listed_job(bench.database, 2)
    waiting = scenes.claimed(bench.database, job_id, spool_id=first)
    scenes.spooled(bench.database, waiting, PDF)
    cut = scenes.claimed(bench.database, job_id, spool_id=second)
    scenes.upload(bench.database, cut)
    scenes.age(bench.database, job_id, QUIET_S)
    assert bench.tick() == [_upload(waiting, first)], "the other is being uploaded"

    scenes.age(bench.database, job_id, LONG_S)

    assert sorted(bench.tick()) == sorted([_upload(waiting, first), _upload(cut, second)])


def test_a_postponed_upload_is_left_alone_until_it_is_due(bench: Bench) -> None:
    spool_id = scenes.living_spool(bench.database)
    job_id = scenes.listed_job(bench.database, 1)
    claim = scenes.claimed(bench.database, job_id, spool_id=spool_id)
    file = scenes.upload(bench.database, claim)
    postpone_upload(bench.database, file, spool_id=spool_id, delay_s=30)
    scenes.age(bench.database, job_id, QUIET_S)

    assert bench.tick() == []


# Ends


@pytest.mark.parametrize("is_started", [False, True])
def test_a_job_that_is_not_listed_in_time_fails(bench: Bench, is_started: bool) -> None:
    view, _ = scenes.start(bench.database, scenes.request(webhook_url=HOOK))
    if is_started:
        scenes.listing_claim(bench.database, view.job.job_id)
    scenes.age(bench.database, view.job.job_id, 3_601)

    assert set(bench.tick()) == {(WEBHOOK_QUEUE, (str(view.job.job_id), 0))}

    job = scenes.job(bench.database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "TIMEOUT")


def test_a_job_that_is_over_time_fails_what_is_left(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 4, scenes.request(webhook_url=HOOK))
    scenes.store_next(bench.database, job_id)
    spool_id = scenes.living_spool(bench.database)
    scenes.spooled(bench.database, scenes.claimed(bench.database, job_id, spool_id=spool_id), PDF)
    scenes.claimed(bench.database, job_id, lease_s=9_999)
    scenes.age(bench.database, job_id, 3_601)

    assert set(bench.tick()) == {(WEBHOOK_QUEUE, (str(job_id), 0))}

    job = scenes.job(bench.database, job_id)
    assert (job["state"], job["failed_documents"]) == ("PARTIALLY_COMPLETED", 3)
    rows = scenes.documents(bench.database, job_id)
    assert [d["error_reason"] for d in rows] == [None, *["TIMEOUT"] * 3]
    assert rows[1]["error_is_retryable"] is True
    assert len({d["revision"] for d in rows}) == 4


def test_a_job_over_time_with_nothing_stored_fails(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 2)
    scenes.age(bench.database, job_id, 3_601)

    bench.tick()

    job = scenes.job(bench.database, job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "NO_DOCUMENT_AVAILABLE")
    assert "TIMEOUT" in job["error_message"]


def test_a_job_with_nothing_left_to_do_ends(bench: Bench) -> None:
    # Given what no code of ours leaves behind: all documents over, and the job is not
    job_id = scenes.listed_job(bench.database, 2, scenes.request(webhook_url=HOOK))
    scenes.execute(
        bench.database,
        "UPDATE documents SET state = 'FAILED', error_reason = 'R', error_message = '',"
        " error_is_retryable = true WHERE job_id = %(id)s",
        id=job_id,
    )
    scenes.execute(
        bench.database, "UPDATE jobs SET failed_documents = 2 WHERE job_id = %(id)s", id=job_id
    )

    assert set(bench.tick()) == {(WEBHOOK_QUEUE, (str(job_id), 0))}

    assert scenes.job(bench.database, job_id)["state"] == "FAILED"
    assert len(scenes.events(bench.database, job_id)) == 1


def test_a_webhook_that_is_due_is_sent_for(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 0, scenes.request(webhook_url=HOOK))
    message = (WEBHOOK_QUEUE, (str(job_id), 0))
    assert bench.tick() == [message]
    assert bench.tick() == [], "it has just been told"

    delivery = webhooks.claim(bench.database, job_id, 0, lease_s=30)
    assert delivery
    scenes.age(bench.database, job_id, QUIET_S)
    assert bench.tick() == [], "it is being sent"

    scenes.age(bench.database, job_id, 30)
    assert bench.tick() == [message]


def test_a_webhook_is_sent_for_again_when_its_next_attempt_is_due(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 0, scenes.request(webhook_url=HOOK))
    delivery = webhooks.claim(bench.database, job_id, 0, lease_s=30)
    assert delivery
    delay_s = webhooks.refused(
        bench.database, delivery, status_code=503, error="", retry_after_s=None, is_final=False
    )
    assert delay_s
    assert bench.tick() == []

    scenes.age(bench.database, job_id, delay_s)

    assert bench.tick() == [(WEBHOOK_QUEUE, (str(job_id), 0))]


# Not too often


def test_a_backlog_is_told_at_growing_intervals(bench: Bench) -> None:
    # Given a job that waits its turn for ten minutes
    job_id = scenes.listed_job(bench.database, 40)
    told_at = []

    for second in range(0, 600, 5):
        if bench.tick():
            told_at.append(second)
        scenes.age(bench.database, job_id, 5)

    gaps = [later - earlier for earlier, later in pairwise(told_at)]
    assert gaps[:4] == [10, 20, 40, NUDGE_CAP_S]
    assert set(gaps[4:]) == {NUDGE_CAP_S}


def test_a_sign_of_life_makes_the_interval_short_again(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 40)
    for _ in range(6):
        scenes.age(bench.database, job_id, LONG_S)
        assert bench.tick() == [_lane(job_id)] * LANES
    held = [scenes.claimed(bench.database, job_id, lease_s=999) for _ in range(LANES)]
    scenes.age(bench.database, job_id, LONG_S)
    assert bench.tick() == []

    for claim in held:
        attempts.give_back(bench.database, claim)
    scenes.age(bench.database, job_id, QUIET_S)

    assert bench.tick() == [_lane(job_id)] * LANES


def test_an_unsent_webhook_is_told_at_growing_intervals(bench: Bench) -> None:
    job_id = scenes.listed_job(bench.database, 0, scenes.request(webhook_url=HOOK))
    told_at = []

    for second in range(0, 400, 5):
        if repairs.stalled_webhooks(bench.database, is_redis_lost=False):
            told_at.append(second)
        scenes.age(bench.database, job_id, 5)

    gaps = [later - earlier for earlier, later in pairwise(told_at)]
    assert gaps == [10, 20, 40, *[NUDGE_CAP_S] * (len(gaps) - 3)]


# Redis


def test_a_lost_redis_is_noticed_and_everything_is_sent_at_once(bench: Bench) -> None:
    # Given one of everything, told a moment ago
    spool_id = scenes.living_spool(bench.database)
    unlisted, _ = scenes.start(bench.database)
    waiting = scenes.listed_job(bench.database, 9)
    spooled = scenes.listed_job(bench.database, 1)
    claim = scenes.claimed(bench.database, spooled, spool_id=spool_id)
    scenes.spooled(bench.database, claim, PDF)
    ended = scenes.listed_job(bench.database, 0, scenes.request(webhook_url=HOOK))
    everything = sorted(
        [
            _listing(unlisted.job.job_id),
            *[_lane(waiting)] * LANES,
            _upload(claim, spool_id),
            (WEBHOOK_QUEUE, (str(ended), 0)),
        ]
    )
    bench.redis.flushdb()
    assert sorted(bench.tick()) == everything
    assert bench.tick() == []

    # When Redis is flushed, then all of it is sent again, once
    bench.redis.flushdb()

    assert sorted(bench.tick()) == everything
    assert bench.tick() == []


def test_a_lost_redis_reaches_more_jobs_than_one_batch(bench: Bench) -> None:
    scenes.execute(
        bench.database,
        "INSERT INTO jobs (job_id, client, process_number, state, start_time, deadline_time,"
        " max_age_s, nudge_time, nudge_count) SELECT gen_random_uuid(), 'default',"
        " lpad(n::text, 7, '0') || '-00.2025.8.26.0100', 'PROCESSING', clock_timestamp(),"
        " clock_timestamp() + interval '1 day', 0, clock_timestamp(), 9"
        " FROM generate_series(1, %(n)s) n",
        n=2 * BATCH + 10,
    )
    limits = replace(ASKING.limits, at_once=3 * BATCH, per_court=3 * BATCH)
    bench.clock.asking = replace(ASKING, limits=limits)
    for _ in range(3):  # so many batches of turns are given to jobs that have none
        assert bench.tick() == []

    bench.redis.flushdb()

    assert len(set(bench.tick())) == 2 * BATCH + 10


def test_a_redis_that_is_away_is_not_taken_for_told(
    bench: Bench, database: Database, redis_url: str
) -> None:
    # Given a clock whose Redis does not answer
    job_id = scenes.listed_job(database, 9)
    nowhere = "redis://127.0.0.1:1/0"
    away = _clock(database, redis.Redis.from_url(nowhere), nowhere)
    for _ in range(5):
        scenes.age(database, job_id, LONG_S)
        away.tick()
    assert scenes.job(database, job_id)["nudge_count"] == 0

    # When it is back, with all its data, then the job need not wait
    assert bench.tick() == [_lane(job_id)] * LANES


def test_what_needs_no_redis_is_repaired_without_it(database: Database) -> None:
    over, lost = scenes.listed_job(database, 1), scenes.listed_job(database, 1)
    scenes.age(database, over, 3_601)
    scenes.claimed(database, lost, lease_s=-1)
    nowhere = "redis://127.0.0.1:1/0"

    _clock(database, redis.Redis.from_url(nowhere), nowhere).tick()

    assert scenes.job(database, over)["state"] == "FAILED"
    assert scenes.documents(database, lost)[0]["state"] == "PENDING"


# PostgreSQL


def test_a_clock_outlives_an_outage_of_the_database(client: redis.Redis, redis_url: str) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    clock = _clock(nowhere, client, redis_url)
    with pytest.raises(ServiceUnavailable):
        clock.tick()

    stop = threading.Event()
    running = threading.Thread(target=clock.run, args=[stop])
    running.start()
    running.join(0.3)
    assert running.is_alive()
    stop.set()
    running.join(10)
    assert not running.is_alive()


class _OnePass(threading.Event):
    """Has a clock stop after its first pass."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        self.set()
        return True


def test_after_an_outage_holders_may_renew_before_anything_is_taken_back(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    job_id = scenes.listed_job(database, 1)
    scenes.claimed(database, job_id, lease_s=-1)
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    clock = _clock(nowhere, client, redis_url)

    clock.run(_OnePass())
    clock.database = database
    clock.tick()
    assert scenes.documents(database, job_id)[0]["state"] == "DOWNLOADING"

    clock.database = nowhere
    clock.asking = replace(clock.asking, lease_s=0)
    clock.run(_OnePass())
    clock.database = database
    clock.tick()
    assert scenes.documents(database, job_id)[0]["state"] == "PENDING"


def test_a_postgresql_that_stood_still_lets_holders_renew_first(
    database: Database, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = scenes.listed_job(database, 1)
    clock = _clock(database, client, redis_url)
    scenes.claimed(database, job_id, lease_s=-1)

    with monkeypatch.context() as patched:
        # Each look at the clock is a lease later than the one before.
        later = count(time.monotonic(), clock.asking.lease_s)
        patched.setattr("actors.clock.time", SimpleNamespace(monotonic=lambda: next(later)))
        clock._see_whether_it_stands_still()
    clock.tick()
    assert scenes.documents(database, job_id)[0]["state"] == "DOWNLOADING"

    clock._patient_until = 0.0
    clock.tick()
    assert scenes.documents(database, job_id)[0]["state"] == "PENDING"


# Several clocks


def test_clocks_at_once_do_no_harm(database: Database, client: redis.Redis, redis_url: str) -> None:
    # Given much to repair
    late = [scenes.listed_job(database, 2, scenes.request(webhook_url=HOOK)) for _ in range(5)]
    lost = [scenes.listed_job(database, 3) for _ in range(5)]
    stalled = [scenes.listed_job(database, 2) for _ in range(5)]
    for job_id in late:
        scenes.age(database, job_id, 3_601)
    for job_id in lost:
        scenes.claimed(database, job_id, lease_s=-1)
    for job_id in stalled:
        scenes.age(database, job_id, QUIET_S)
    client.set("autos:sentinel", 1)
    bench = Bench(database, _clock(database, client, redis_url), client)

    # When six clocks begin at once
    together([_clock(database, client, redis_url).tick for _ in range(6)])

    # Then each repair was made once
    for job_id in late:
        assert scenes.job(database, job_id)["state"] == "FAILED"
        assert len(scenes.events(database, job_id)) == 1
    for job_id in lost:
        assert [d["lost_lease_count"] for d in scenes.documents(database, job_id)] == [1, 0, 0]
    sent = Counter(bench.sent())
    assert all(sent[_lane(job_id)] == 2 for job_id in stalled)


@pytest.mark.parametrize(
    "repair",
    [
        partial(repairs.stalled_jobs, lanes=LANES, can_ask=True, is_redis_lost=False),
        partial(repairs.stalled_jobs, lanes=LANES, can_ask=True, is_redis_lost=True),
        repairs.finish_idle,
    ],
)
def test_a_job_that_somebody_works_on_is_skipped_not_waited_for(
    database: Database, repair: Callable[[Database], list[object]]
) -> None:
    busy, idle = (scenes.listed_job(database, 1) for _ in range(2))
    scenes.execute(
        database,
        "UPDATE documents SET state = 'CANCELLED'; UPDATE jobs SET cancelled_documents = 1",
    )
    others = [scenes.listed_job(database, 1) for _ in range(2)]
    for job_id in (busy, idle, *others):
        scenes.age(database, job_id, QUIET_S)

    with database.transaction() as transaction:
        for job_id in (busy, others[0]):
            transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)
        (found,) = together([partial(repair, database)], timeout_s=10)
    (then,) = together([partial(repair, database)])

    assert len(found) == 1
    assert then, "what was skipped is found the next time"


def test_a_claim_is_either_renewed_or_taken_back(database: Database) -> None:
    # Given leases that have just run out
    for _ in range(20):
        job_id = scenes.listed_job(database, 1)
        held = scenes.claimed(database, job_id, lease_s=0)
        keep = partial(renew_leases, database, [held.lease], lease_s=60)

        # When the worker renews while the clock looks
        calls: list[Callable[[], set[UUID]]] = [keep, lambda: set(repairs.reclaim(database))]
        _, taken_back = together(calls)

        # Then one of them was first, and the other knows
        (row,) = scenes.documents(database, job_id)
        assert row["state"] == ("PENDING" if taken_back else "DOWNLOADING")
        assert keep() == (set() if taken_back else {held.lease})


# Spools


def test_tokens_that_no_row_names_are_told(database: Database) -> None:
    job_id = scenes.listed_job(database, 3)
    done = scenes.store_next(database, job_id)
    held, given_back = (scenes.claimed(database, job_id) for _ in range(2))
    attempts.fail_attempt(database, given_back, BUSY, POLICY)
    stray = uuid4()

    leases = [done.lease, held.lease, given_back.lease, stray]

    assert repairs.unowned(database, leases) == {done.lease, given_back.lease, stray}
    assert repairs.unowned(database, []) == set()


def test_a_spool_that_beats_lives(bench: Bench) -> None:
    spool_id = scenes.living_spool(bench.database)
    job_id = scenes.listed_job(bench.database, 1)
    scenes.spooled(bench.database, scenes.claimed(bench.database, job_id, spool_id=spool_id), PDF)

    for _ in range(3):
        _silence(bench.database, spool_id, SPOOL_DEAD_S)
        repairs.beat(bench.database, spool_id, "")
        bench.tick()

    assert scenes.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"
