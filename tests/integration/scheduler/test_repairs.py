"""Test the repairs of the leading scheduler in rows and in the messages that they send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from uuid import UUID, uuid4

import dramatiq
import pytest
import redis

from actors.hints.hint_channel import HintReceiver, HintSender, halt_channel
from actors.hints.hints import JobEnded
from actors.messaging.enqueuer import WEBHOOK_QUEUE, Enqueuer, make_broker
from actors.messaging.enqueuer import upload_queue as upload_queue_of
from actors.pipeline.job_end import JobEnds
from actors.scheduler.repairs import DELETION_INTERVAL_S, Repairs
from storage.documents.leases import renew_leases
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.listings.listed_case import CaseListing
from storage.portal import attempts, document_claims
from storage.portal.request_claims import Slice, claim, return_unstarted
from storage.portal.retries import LOST_LEASES
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.scheduling.reconciliation import BATCH, REDISPATCH_CAP_S
from storage.webhooks import webhook_rows, webhook_tests
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import BUSY, HOOK, PDF, POLICY

# Seconds until a webhook's message is sent again.
QUIET_S = 6
# Seconds without a heartbeat until a spool counts as dead.
SPOOL_DEAD_S = 31


@dataclass
class Bench:
    """The repairs and the queues that they fill."""

    database: Database
    repairs: Repairs
    redis: redis.Redis

    def sent(self) -> list[tuple[str, tuple[object, ...]]]:
        """Take the messages out of all queues, as (queue, ids)."""
        found = []
        for key in sorted(self.redis.scan_iter("autos:*.msgs")):
            for raw in self.redis.hvals(key):
                assert isinstance(raw, bytes)
                message = dramatiq.Message.decode(raw)
                found.append((message.queue_name, message.args))
            self.redis.delete(key, key.removesuffix(b".msgs"))
        return found

    def repair(self) -> list[tuple[str, tuple[object, ...]]]:
        """Make one pass. Return what it sent."""
        self.repairs.repair()
        return self.sent()


@dataclass
class _Moments:
    """A monotonic clock that shows these moments one after the other, and repeats the last."""

    moments: list[float]

    def __call__(self) -> float:
        return self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield the test's Valkey client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _repairs(database: Database, client: redis.Redis, redis_url: str) -> Repairs:
    messages = Enqueuer(make_broker(redis_url, timeout_s=5))
    return Repairs(
        database=database,
        redis=client,
        messages=messages,
        ends=JobEnds(database, messages, HintSender(client)),
        is_leading=lambda: True,
        lease_s=15,
        interval_s=0.05,
        event_age_s=86_400,
        retire_after_s=0,
    )


@pytest.fixture
def bench(database: Database, client: redis.Redis, redis_url: str) -> Bench:
    """Return repairs that have made one pass, so that they have seen Valkey once."""
    bench = Bench(database, _repairs(database, client, redis_url), client)
    assert bench.repair() == []
    return bench


# Claims of dead processes.


def test_a_lost_worker_loses_its_documents(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 2)
    held = [factories.claimed(bench.database, job_id, lease_s=15) for _ in range(2)]
    assert bench.repair() == []

    factories.age(bench.database, job_id, 16)
    assert bench.repair() == []

    rows = factories.documents(bench.database, job_id)
    assert [(d["state"], d["lost_lease_count"]) for d in rows] == [("PENDING", 1)] * 2
    assert reconciliation.orphaned_tokens(bench.database, [c.lease for c in held]) == {
        c.lease for c in held
    }


def test_the_fifth_lost_worker_ends_the_document_and_its_job(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 1, factories.request(webhook_url=HOOK))
    for _ in range(LOST_LEASES):
        factories.claimed(bench.database, job_id, lease_s=-1)
        sent = bench.repair()

    assert factories.job(bench.database, job_id)["state"] == "FAILED"
    assert (WEBHOOK_QUEUE, (str(job_id), 0)) in sent


def _slice(database: Database, job_id: UUID) -> Slice:
    answer = claim(database, factories.CLAIM_CONTEXT, job_id, 8)
    assert isinstance(answer, Slice)
    return answer


def _small_job(database: Database, documents: int) -> UUID:
    """Return a job of small documents at a quick court, so that one slice takes several."""
    case = CaseListing(
        0, tuple(factories.listed(i, listed_size_bytes=1_000) for i in range(documents))
    )
    job_id = factories.listed_job(database, case)
    factories.make_quick(database, factories.job(database, job_id)["court"])
    return job_id


def test_a_lost_slice_of_several_counts_no_loss_and_has_its_documents_claimed_alone(
    bench: Bench,
) -> None:
    job_id = _small_job(bench.database, 3)
    assert len(_slice(bench.database, job_id).documents) == 3

    factories.age(bench.database, job_id, 61)
    bench.repair()

    rows = factories.documents(bench.database, job_id)
    assert [(d["state"], d["lost_lease_count"]) for d in rows] == [("PENDING", 0)] * 3
    first = _slice(bench.database, job_id)
    return_unstarted(bench.database, job_id, [each.lease for each in first.documents])
    slices = [_slice(bench.database, job_id).documents for _ in range(3)]
    assert [len(documents) for documents in slices] == [1] * 3
    assert {alone.document_id for (alone,) in slices} == {row["document_id"] for row in rows}


def test_what_is_left_alone_of_a_lost_slice_of_several_counts_no_loss(bench: Bench) -> None:
    job_id = _small_job(bench.database, 2)
    first, second = _slice(bench.database, job_id).documents
    attempts.give_back(bench.database, first)

    factories.age(bench.database, job_id, 61)
    bench.repair()

    rows = {row["document_id"]: row for row in factories.documents(bench.database, job_id)}
    assert rows[second.document_id]["lost_lease_count"] == 0


def test_a_document_that_kills_its_workers_ends_alone(bench: Bench) -> None:
    job_id = _small_job(bench.database, 8)
    deadly = factories.documents(bench.database, job_id)[3]["document_id"]
    killed: list[int] = []

    while factories.job(bench.database, job_id)["end_time"] is None:
        documents = _slice(bench.database, job_id).documents
        if deadly in {each.document_id for each in documents}:
            killed.append(len(documents))
            factories.age(bench.database, job_id, 61)
            bench.repair()
            continue
        for document in documents:
            factories.stored(bench.database, document_claims.unrecorded_file(document, PDF))

    assert killed == [8] + [1] * LOST_LEASES
    rows = factories.documents(bench.database, job_id)
    lost = [row for row in rows if row["state"] != "AVAILABLE"]
    assert [(d["document_id"], d["error_reason"]) for d in lost] == [(deadly, "WORKER_LOST")]
    assert [d["lost_lease_count"] for d in rows if d not in lost] == [0] * 7


def test_a_file_in_a_dead_spool_is_fetched_again_and_counts_no_loss(bench: Bench) -> None:
    spool_id = factories.living_spool(bench.database)
    job_id = factories.listed_job(bench.database, 2)
    factories.spooled(
        bench.database, factories.claimed(bench.database, job_id, spool_id=spool_id), PDF
    )
    uploading = factories.claimed(bench.database, job_id, spool_id=spool_id)
    factories.upload(bench.database, uploading)
    assert bench.repair() == []

    factories.age(bench.database, job_id, 61)
    _silence(bench.database, spool_id, SPOOL_DEAD_S - 20)
    bench.repair()
    assert factories.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"

    _silence(bench.database, spool_id, 20)
    bench.repair()

    rows = factories.documents(bench.database, job_id)
    assert [(d["state"], d["lost_lease_count"]) for d in rows] == [("PENDING", 0)] * 2


def _silence(database: Database, spool_id: UUID, seconds: float) -> None:
    factories.execute(
        database,
        "UPDATE spools SET heartbeat_time = heartbeat_time - %(s)s * interval '1 second'"
        " WHERE spool_id = %(id)s",
        s=seconds,
        id=spool_id,
    )


def test_the_queue_of_a_dead_spool_is_retired_once_its_files_are_taken_back(bench: Bench) -> None:
    spool_id = factories.living_spool(bench.database)
    job_id = factories.listed_job(bench.database, 1)
    factories.spooled(
        bench.database, factories.claimed(bench.database, job_id, spool_id=spool_id), PDF
    )
    queue = f"autos:{upload_queue_of(spool_id)}"
    bench.repairs.messages.upload(spool_id, job_id, uuid4(), uuid4())

    bench.repairs.repair()
    assert bench.redis.llen(queue) == 1
    _silence(bench.database, spool_id, SPOOL_DEAD_S)
    bench.repairs.repair()
    assert bench.redis.llen(queue) == 1, "it was seen dead for a moment only"
    bench.repairs.repair()

    assert not bench.redis.exists(queue, f"{queue}.msgs")
    spools = factories.execute(
        bench.database, "SELECT FROM spools WHERE spool_id = %(i)s", i=spool_id
    )
    assert spools == 0


def test_the_queue_of_a_spool_that_is_silent_for_a_moment_stays(bench: Bench) -> None:
    # After an outage or a restore of PostgreSQL.
    spool_id = factories.living_spool(bench.database)
    bench.repairs.messages.upload(spool_id, uuid4(), uuid4(), uuid4())
    _silence(bench.database, spool_id, 3 * SPOOL_DEAD_S)
    bench.repairs.retire_after_s = 3_600

    bench.repairs.repair()
    bench.repairs.repair()

    assert bench.redis.llen(f"autos:{upload_queue_of(spool_id)}") == 1


def test_the_queue_of_a_spool_that_gives_a_sign_of_life_while_it_is_retired_stays(
    bench: Bench,
) -> None:
    spool_id = factories.living_spool(bench.database)
    bench.repairs.messages.upload(spool_id, uuid4(), uuid4(), uuid4())
    _silence(bench.database, spool_id, SPOOL_DEAD_S)
    assert reconciliation.dead_spools(bench.database) == [spool_id]

    reconciliation.record_heartbeat(bench.database, spool_id, "")

    def drop() -> bool:
        return bench.repairs.messages.purge_upload_queue(spool_id)

    assert not reconciliation.retire_spool(bench.database, spool_id, drop)
    assert bench.redis.llen(f"autos:{upload_queue_of(spool_id)}") == 1


def test_a_spool_that_never_gave_a_sign_of_life_is_dead(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 1)
    factories.spooled(bench.database, factories.claimed(bench.database, job_id), PDF)

    bench.repair()

    assert factories.documents(bench.database, job_id)[0]["state"] == "PENDING"


def test_a_living_spool_keeps_its_files_however_long_they_wait(bench: Bench) -> None:
    spool_id = factories.living_spool(bench.database)
    job_id = factories.listed_job(bench.database, 1)
    claim = factories.claimed(bench.database, job_id, spool_id=spool_id)
    factories.spooled(bench.database, claim, PDF)

    factories.age(bench.database, job_id, 9_999)
    factories.execute(
        bench.database,
        "UPDATE jobs SET deadline_time = clock_timestamp() + interval '1 hour'",
    )

    assert bench.repair() == []
    assert factories.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"


# Ends.


@pytest.mark.parametrize("is_started", [False, True])
def test_a_job_that_is_not_listed_in_time_fails(bench: Bench, is_started: bool) -> None:
    view, _ = factories.start(bench.database, factories.request(webhook_url=HOOK))
    if is_started:
        factories.listing_claim(bench.database, view.job.job_id)
    factories.age(bench.database, view.job.job_id, 3_601)

    assert set(bench.repair()) == {(WEBHOOK_QUEUE, (str(view.job.job_id), 0))}

    job = factories.job(bench.database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "TIMEOUT")


def test_a_job_that_is_over_time_fails_what_is_left(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 4, factories.request(webhook_url=HOOK))
    factories.store_next(bench.database, job_id)
    spool_id = factories.living_spool(bench.database)
    factories.spooled(
        bench.database, factories.claimed(bench.database, job_id, spool_id=spool_id), PDF
    )
    factories.claimed(bench.database, job_id, lease_s=9_999)
    factories.age(bench.database, job_id, 3_601)

    assert set(bench.repair()) == {(WEBHOOK_QUEUE, (str(job_id), 0))}

    assert JobEnded(job_id) in HintReceiver(bench.redis).receive(0)
    job = factories.job(bench.database, job_id)
    assert (job["state"], job["failed_documents"]) == ("PARTIALLY_COMPLETED", 3)
    rows = factories.documents(bench.database, job_id)
    assert [d["error_reason"] for d in rows] == [None, *["TIMEOUT"] * 3]
    assert rows[1]["error_is_retryable"] is True
    assert len({d["revision"] for d in rows}) == 4


def test_the_slices_of_a_job_that_is_over_time_are_halted(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 2)
    factories.age(bench.database, job_id, 3_601)

    with bench.redis.pubsub() as halts:
        halts.subscribe(halt_channel(bench.redis))
        assert halts.get_message(timeout=60)
        bench.repair()
        message = halts.get_message(timeout=60)

    assert message is not None
    assert message["data"].decode().partition(" ")[2] == str(job_id)


def test_a_job_over_time_with_nothing_stored_fails(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 2)
    factories.age(bench.database, job_id, 3_601)

    bench.repair()

    job = factories.job(bench.database, job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "NO_DOCUMENT_AVAILABLE")
    assert "TIMEOUT" in job["error_message"]


def test_a_job_with_nothing_left_to_do_ends(bench: Bench) -> None:
    # Given a state that our code never leaves: all documents ended, and the job not
    job_id = factories.listed_job(bench.database, 2, factories.request(webhook_url=HOOK))
    factories.execute(
        bench.database,
        "UPDATE documents SET state = 'FAILED', error_reason = 'R', error_message = '',"
        " error_is_retryable = true WHERE job_id = %(id)s",
        id=job_id,
    )
    factories.execute(
        bench.database, "UPDATE jobs SET failed_documents = 2 WHERE job_id = %(id)s", id=job_id
    )

    assert set(bench.repair()) == {(WEBHOOK_QUEUE, (str(job_id), 0))}

    assert factories.job(bench.database, job_id)["state"] == "FAILED"
    assert len(factories.events(bench.database, job_id)) == 1


def test_a_webhook_that_is_due_is_sent_for(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 0, factories.request(webhook_url=HOOK))
    message = (WEBHOOK_QUEUE, (str(job_id), 0))
    assert bench.repair() == [message]
    assert bench.repair() == [], "its message was sent a moment ago"

    delivery = webhook_rows.claim(bench.database, job_id, 0, lease_s=30)
    assert delivery
    factories.age(bench.database, job_id, QUIET_S)
    assert bench.repair() == [], "it is being sent"

    factories.age(bench.database, job_id, 30)
    assert bench.repair() == [message]


def test_a_webhook_is_sent_for_again_when_its_next_attempt_is_due(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 0, factories.request(webhook_url=HOOK))
    delivery = webhook_rows.claim(bench.database, job_id, 0, lease_s=30)
    assert delivery
    delay_s = webhook_rows.refused(
        bench.database, delivery, status_code=503, error="", retry_after_s=None, is_final=False
    )
    assert delay_s
    assert bench.repair() == []

    factories.age(bench.database, job_id, delay_s)

    assert bench.repair() == [(WEBHOOK_QUEUE, (str(job_id), 0))]


# Rate of repairs.


def test_an_unsent_webhook_is_sent_for_at_growing_intervals(bench: Bench) -> None:
    job_id = factories.listed_job(bench.database, 0, factories.request(webhook_url=HOOK))
    sent_at = []

    for second in range(0, 400, 5):
        if reconciliation.stalled_webhooks(bench.database, is_redis_lost=False):
            sent_at.append(second)
        factories.age(bench.database, job_id, 5)

    gaps = [later - earlier for earlier, later in pairwise(sent_at)]
    assert gaps == [10, 20, 40, *[REDISPATCH_CAP_S] * (len(gaps) - 3)]


# Valkey.


def test_a_lost_valkey_is_noticed_and_every_webhook_is_sent_for_at_once(bench: Bench) -> None:
    # Given more webhooks than one batch, all with messages sent a moment ago
    job_id = factories.listed_job(bench.database, 0, factories.request(webhook_url=HOOK))
    factories.execute(
        bench.database,
        "INSERT INTO webhooks (job_id, position, url, webhook_id, event_id, state,"
        " next_attempt_time) SELECT job_id, n, url || n, gen_random_uuid(), event_id, state,"
        " next_attempt_time FROM webhooks, generate_series(1, %(n)s) AS n",
        n=2 * BATCH + 9,
    )
    everything = sorted((WEBHOOK_QUEUE, (str(job_id), n)) for n in range(2 * BATCH + 10))
    bench.redis.flushdb()
    assert sorted(bench.repair()) == everything
    assert bench.repair() == []

    # When Valkey loses its data, then the messages of all are sent again, once
    bench.redis.flushdb()

    assert sorted(bench.repair()) == everything
    assert bench.repair() == []


def test_nothing_counts_as_sent_while_valkey_is_away(
    bench: Bench, database: Database, redis_url: str
) -> None:
    # Given repairs with a Valkey that does not answer
    job_id = factories.listed_job(database, 0, factories.request(webhook_url=HOOK))
    nowhere = "redis://127.0.0.1:1/0"
    away = _repairs(database, redis.Redis.from_url(nowhere), nowhere)
    for _ in range(5):
        factories.age(database, job_id, REDISPATCH_CAP_S + 1)
        away.repair()
    (webhook,) = factories.webhooks(database, job_id)
    assert webhook["nudge_count"] == 0

    # When it is back, with all its data, then the webhook need not wait
    assert bench.repair() == [(WEBHOOK_QUEUE, (str(job_id), 0))]


def test_what_needs_no_valkey_is_repaired_without_it(database: Database) -> None:
    over, lost = factories.listed_job(database, 1), factories.listed_job(database, 1)
    factories.age(database, over, 3_601)
    factories.claimed(database, lost, lease_s=-1)
    nowhere = "redis://127.0.0.1:1/0"

    _repairs(database, redis.Redis.from_url(nowhere), nowhere).repair()

    assert factories.job(database, over)["state"] == "FAILED"
    assert factories.documents(database, lost)[0]["state"] == "PENDING"


# PostgreSQL.


def test_repairs_outlive_an_outage_of_the_database(client: redis.Redis, redis_url: str) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    repairs_ = _repairs(nowhere, client, redis_url)

    with pytest.raises(ServiceUnavailable):
        repairs_.repair()
    repairs_.repair_if_leading()


def test_after_an_outage_holders_may_renew_before_anything_is_taken_back(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    job_id = factories.listed_job(database, 1)
    factories.claimed(database, job_id, lease_s=-1)
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    repairs_ = _repairs(nowhere, client, redis_url)

    repairs_.repair_if_leading()
    repairs_.database = database
    repairs_.repair()
    assert factories.documents(database, job_id)[0]["state"] == "DOWNLOADING"

    repairs_.monotonic = lambda: time.monotonic() + repairs_.lease_s / 2
    repairs_.repair()
    assert factories.documents(database, job_id)[0]["state"] == "PENDING"


def test_a_postgresql_that_stood_still_lets_holders_renew_first(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    job_id = factories.listed_job(database, 1)
    repairs_ = _repairs(database, client, redis_url)
    factories.claimed(database, job_id, lease_s=-1)

    # The smallest round trip takes more than half of a lease.
    stood_still_s = repairs_.lease_s / 2 + 1
    repairs_.monotonic = _Moments([0.0, stood_still_s])
    repairs_.repair()
    assert factories.documents(database, job_id)[0]["state"] == "DOWNLOADING"

    repairs_.monotonic = _Moments([stood_still_s + repairs_.lease_s / 2])
    repairs_.repair()
    assert factories.documents(database, job_id)[0]["state"] == "PENDING"


# Several schedulers.


def test_a_scheduler_that_does_not_lead_repairs_nothing(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    over = factories.listed_job(database, 1)
    factories.age(database, over, 3_601)
    repairs_ = _repairs(database, client, redis_url)
    repairs_.is_leading = lambda: False

    repairs_.repair_if_leading()

    assert factories.job(database, over)["state"] == "PROCESSING"


def test_after_a_take_over_holders_may_renew_before_anything_is_taken_back(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    job_id = factories.listed_job(database, 1)
    factories.claimed(database, job_id, lease_s=-1)
    repairs_ = _repairs(database, client, redis_url)

    repairs_.repair_if_leading()
    assert factories.documents(database, job_id)[0]["state"] == "DOWNLOADING"

    repairs_.monotonic = lambda: time.monotonic() + repairs_.lease_s / 2
    repairs_.repair_if_leading()
    assert factories.documents(database, job_id)[0]["state"] == "PENDING"


def test_repairs_at_once_do_no_harm(
    database: Database, client: redis.Redis, redis_url: str
) -> None:
    # Given much to repair
    late = [
        factories.listed_job(database, 2, factories.request(webhook_url=HOOK)) for _ in range(5)
    ]
    lost = [factories.listed_job(database, 3) for _ in range(5)]
    for job_id in late:
        factories.age(database, job_id, 3_601)
    for job_id in lost:
        factories.claimed(database, job_id, lease_s=-1)
    client.set("autos:sentinel", 1)

    # When six schedulers repair at once
    run_concurrently([_repairs(database, client, redis_url).repair for _ in range(6)])

    # Then each repair was made once
    for job_id in late:
        assert factories.job(database, job_id)["state"] == "FAILED"
        assert len(factories.events(database, job_id)) == 1
    for job_id in lost:
        assert [d["lost_lease_count"] for d in factories.documents(database, job_id)] == [1, 0, 0]


def test_a_job_whose_row_is_locked_is_skipped_not_waited_for(database: Database) -> None:
    busy, idle = (factories.listed_job(database, 1) for _ in range(2))
    factories.execute(
        database,
        "UPDATE documents SET state = 'CANCELLED'; UPDATE jobs SET cancelled_documents = 1",
    )
    others = [factories.listed_job(database, 1) for _ in range(2)]
    for job_id in (busy, idle, *others):
        factories.age(database, job_id, QUIET_S)

    with database.transaction() as transaction:
        for job_id in (busy, others[0]):
            transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)
        (found,) = run_concurrently([partial(reconciliation.finish_idle, database)], timeout_s=10)
    then = reconciliation.finish_idle(database)

    assert len(found) == 1
    assert then, "what was skipped is found the next time"


def test_a_claim_is_either_renewed_or_taken_back(database: Database) -> None:
    # Given leases that have just expired
    for _ in range(20):
        job_id = factories.listed_job(database, 1)
        held = factories.claimed(database, job_id, lease_s=0)
        keep = partial(renew_leases, database, [held.lease], lease_s=60)

        # When the worker renews while the scheduler repairs
        calls: list[Callable[[], set[UUID]]] = [keep, lambda: set(reconciliation.reclaim(database))]
        _, taken_back = run_concurrently(calls)

        # Then one of them was first, and the other detects it
        (row,) = factories.documents(database, job_id)
        assert row["state"] == ("PENDING" if taken_back else "DOWNLOADING")
        assert keep() == (set() if taken_back else {held.lease})


# Spools.


def test_tokens_that_no_row_names_are_reported(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    done = factories.store_next(database, job_id)
    held, given_back = (factories.claimed(database, job_id) for _ in range(2))
    attempts.fail_attempt(database, given_back, BUSY, POLICY)
    stray = uuid4()

    leases = [done.lease, held.lease, given_back.lease, stray]

    assert reconciliation.orphaned_tokens(database, leases) == {done.lease, given_back.lease, stray}
    assert reconciliation.orphaned_tokens(database, []) == set()


def test_a_spool_that_beats_lives(bench: Bench) -> None:
    spool_id = factories.living_spool(bench.database)
    job_id = factories.listed_job(bench.database, 1)
    factories.spooled(
        bench.database, factories.claimed(bench.database, job_id, spool_id=spool_id), PDF
    )

    for _ in range(3):
        _silence(bench.database, spool_id, SPOOL_DEAD_S)
        reconciliation.record_heartbeat(bench.database, spool_id, "")
        bench.repair()

    assert factories.documents(bench.database, job_id)[0]["state"] == "DOWNLOADED"


# What is too old.


def _leave_old_rows(database: Database) -> None:
    """Leave an event, a case of the budget and a test event that no caller needs any more."""
    view, _ = factories.start(database)
    job_queries.cancel(database, view.job.client, view.job.job_id)
    webhook_tests.create(database, "default", HOOK)
    for statement in (
        "UPDATE events SET is_superseded = true, event_time = event_time - interval '40 days'",
        "UPDATE webhook_tests SET create_time = create_time - interval '1 hour'",
        "INSERT INTO requested_cases VALUES ('x', '8.26', now() - interval '40 days')",
    ):
        factories.execute(database, statement)


def _old_rows(database: Database) -> int:
    with database.transaction() as transaction:
        counts = transaction.only(
            "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM webhook_tests)"
            " + (SELECT count(*) FROM requested_cases) AS rows"
        )
    return int(counts["rows"])


def test_what_is_too_old_is_deleted_now_and_then(bench: Bench) -> None:
    _leave_old_rows(bench.database)
    bench.repair()
    # The pass of the fixture was one.
    assert _old_rows(bench.database) == 3

    bench.repairs.monotonic = _Moments([time.monotonic() + DELETION_INTERVAL_S])
    bench.repair()

    assert _old_rows(bench.database) == 0
