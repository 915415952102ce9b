"""Test the lease renewer: it renews leases during work, and stops work after a lost lease."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import structlog

from actors.leases.lease_renewer import LeaseRenewer
from dev.processes.deadline import until
from storage.documents.leases import renew_leases
from storage.jobs import job_queries
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, PDF

# Long enough that a stall of a busy machine loses no lease; renewals come every second.
LEASE_S = 5.0
PATIENCE_S = 60.0


def _renewer(database: Database, *, lease_s: float = LEASE_S) -> LeaseRenewer:
    return LeaseRenewer(partial(renew_leases, database, lease_s=lease_s), lease_s=lease_s)


def test_a_lease_outlives_its_term_while_it_is_held(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    claim = factories.claimed(database, job_id, lease_s=LEASE_S)
    first = factories.documents(database, job_id)[0]["lease_until"]
    lost = threading.Event()

    def is_twice_renewed() -> bool:
        now = factories.documents(database, job_id)[0]["lease_until"]
        return bool((now - first).total_seconds() > LEASE_S)

    with _renewer(database).holding(claim.lease, lost.set):
        until(is_twice_renewed, PATIENCE_S, "the lease is not renewed")

    assert not lost.is_set()


def test_a_cancelled_job_stops_its_work_and_no_other(database: Database) -> None:
    doomed, other = (factories.listed_job(database, 1) for _ in range(2))
    renewer = _renewer(database, lease_s=600)
    stopped, not_stopped = threading.Event(), threading.Event()
    first, second = factories.claimed(database, doomed), factories.claimed(database, other)

    with (
        renewer.holding(first.lease, stopped.set),
        renewer.holding(second.lease, not_stopped.set),
    ):
        job_queries.cancel(database, CLIENT, doomed)
        # Long before the lease expires, which would stop it as well.
        assert stopped.wait(PATIENCE_S), "cancelled, and still fetching"

    assert not not_stopped.is_set()


def test_a_loss_is_reported_once(database: Database) -> None:
    calls: list[UUID] = []
    held = factories.claimed(database, factories.listed_job(database, 1))
    stray = uuid4()

    with _renewer(database, lease_s=60).holding(stray, lambda: calls.append(stray)):
        until(lambda: bool(calls), PATIENCE_S, "a lease without a holder is not reported")
        # A second round passes before this one is seen to be renewed.
        before = factories.documents(database, held.job_id)[0]["lease_until"]
        with _renewer(database, lease_s=60).holding(held.lease, lambda: calls.append(held.lease)):
            until(
                lambda: factories.documents(database, held.job_id)[0]["lease_until"] != before,
                PATIENCE_S,
                "the lease is not renewed",
            )

    assert calls == [stray]


def test_after_the_work_no_renewal_comes_late() -> None:
    # Given a renewal in progress that takes long
    begun, go = threading.Event(), threading.Event()
    renewals: list[set[UUID]] = []

    def renew(leases: set[UUID]) -> set[UUID]:
        renewals.append(leases)
        begun.set()
        go.wait(60)
        return leases

    lease = uuid4()
    renewer = LeaseRenewer(renew, lease_s=600)

    def work() -> None:
        with renewer.holding(lease, lambda: None):
            begun.wait(PATIENCE_S)

    # When the work ends meanwhile
    working = threading.Thread(target=work)
    working.start()
    assert begun.wait(PATIENCE_S)
    working.join(0.2)

    # Then it waits for the renewal to end, and no other follows
    assert working.is_alive(), "the claim may be given up while a renewal of it is under way"
    go.set()
    working.join(PATIENCE_S)
    assert not working.is_alive()
    assert renewals == [{lease}]


def test_a_file_handed_over_is_free_for_its_uploader(database: Database) -> None:
    # Given workers with leases that are renewed as often as possible
    renewer = _renewer(database, lease_s=0.001)
    job_id = factories.listed_job(database, 40)

    for _ in range(40):
        claim = factories.claimed(database, job_id, lanes=40)
        with renewer.holding(claim.lease, lambda: None):
            renew_leases(database, [claim.lease], lease_s=60)
        factories.spooled(database, claim, PDF)

        assert factories.take_upload(
            database, job_id, claim.document_id, claim.lease, lease_s=60
        ), "a late renewal holds the file"


def test_without_the_database_work_ends_with_its_lease() -> None:
    # Given leases that cannot be renewed: the next holder may begin when they expire
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    lost = threading.Event()
    begun = time.monotonic()

    with _renewer(nowhere, lease_s=0.6).holding(uuid4(), lost.set):
        assert lost.wait(PATIENCE_S), "work goes on for ever"

    assert time.monotonic() - begun >= 0.5, "an outage shorter than the lease is no reason to stop"


def test_an_outage_shorter_than_the_lease_costs_nothing(database: Database) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", max_connections=1)
    held = factories.claimed(database, factories.listed_job(database, 1), lease_s=60)
    rounds = 0
    lost, is_back = threading.Event(), threading.Event()

    def renew(leases: set[UUID]) -> set[UUID]:
        nonlocal rounds
        rounds += 1
        kept = renew_leases(database if rounds > 2 else nowhere, leases, lease_s=60)
        is_back.set()
        return kept

    with LeaseRenewer(renew, lease_s=15).holding(held.lease, lost.set):
        assert is_back.wait(PATIENCE_S)

    assert not lost.is_set()


def test_a_bug_in_renewing_does_not_end_it(database: Database) -> None:
    held = factories.claimed(database, factories.listed_job(database, 1))
    rounds = 0
    lost, is_renewed = threading.Event(), threading.Event()

    def renew(leases: set[UUID]) -> set[UUID]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise ZeroDivisionError
        kept = renew_leases(database, leases, lease_s=60)
        is_renewed.set()
        return kept

    with LeaseRenewer(renew, lease_s=15).holding(held.lease, lost.set):
        assert is_renewed.wait(PATIENCE_S)

    assert not lost.is_set()


def test_a_process_that_stops_stops_what_it_does_and_what_it_still_begins() -> None:
    renewer = LeaseRenewer(_keep_all, lease_s=600)
    running, late = threading.Event(), threading.Event()

    with renewer.holding(uuid4(), running.set):
        renewer.stop_all()
        assert running.is_set()
    with renewer.holding(uuid4(), late.set):
        assert late.is_set()


def _keep_all(leases: set[UUID]) -> set[UUID]:
    return leases


def test_a_hundred_holders_are_renewed_in_one_statement(database: Database) -> None:
    rounds: list[set[UUID]] = []
    all_held = threading.Event()
    leases = {uuid4() for _ in range(100)}

    def renew(held: set[UUID]) -> set[UUID]:
        rounds.append(held)
        if held == leases:
            all_held.set()
        return held

    renewer = LeaseRenewer(renew, lease_s=600)
    _hold_all(renewer, sorted(leases), all_held)

    assert all_held.is_set()


def _hold_all(renewer: LeaseRenewer, leases: list[UUID], is_over: threading.Event) -> None:
    if not leases:
        assert is_over.wait(PATIENCE_S)
        return
    with renewer.holding(leases[0], lambda: None):
        _hold_all(renewer, leases[1:], is_over)


def test_work_stops_when_its_lease_is_over_even_while_a_renewal_hangs() -> None:
    hangs = threading.Event()
    lost = threading.Event()

    def renew(_leases: set[UUID]) -> set[UUID]:
        hangs.wait(60)
        return set()

    with LeaseRenewer(renew, lease_s=0.5).holding(uuid4(), lost.set):
        stopped_in_time = lost.wait(PATIENCE_S)
        hangs.set()

    assert stopped_in_time


def test_a_lost_lease_is_logged_with_the_job_it_was_for() -> None:
    renewer, lost = LeaseRenewer(lambda _: set(), lease_s=0.5), threading.Event()
    with (
        structlog.testing.capture_logs() as lines,
        structlog.contextvars.bound_contextvars(job_id="the job"),
        renewer.holding(uuid4(), lost.set),
    ):
        assert lost.wait(60)
    assert [line["job_id"] for line in lines if line["event"] == "lease lost"] == ["the job"]


def test_work_that_cannot_be_stopped_ends_the_renewals_of_no_other(database: Database) -> None:
    doomed, other = (factories.listed_job(database, 1) for _ in range(2))
    renewer = _renewer(database, lease_s=600)
    first, second = factories.claimed(database, doomed), factories.claimed(database, other)
    is_called, stopped = threading.Event(), threading.Event()

    def fail() -> None:
        is_called.set()
        raise TypeError("no socket")

    with renewer.holding(first.lease, fail), renewer.holding(second.lease, stopped.set):
        job_queries.cancel(database, CLIENT, doomed)
        assert is_called.wait(PATIENCE_S)
        job_queries.cancel(database, CLIENT, other)
        assert stopped.wait(PATIENCE_S), "the renewing thread has ended"


def test_a_lease_that_blocks_hold_twice_is_renewed_until_the_last_is_left() -> None:
    renewals: list[set[UUID]] = []

    def renew(leases: set[UUID]) -> set[UUID]:
        renewals.append(leases)
        return leases

    renewer, lease = LeaseRenewer(renew, lease_s=1), uuid4()
    with renewer.holding(lease):
        with renewer.holding(lease):
            until(lambda: bool(renewals), PATIENCE_S, "the lease is not renewed")
        before = len(renewals)
        until(
            lambda: len(renewals) > before + 1,
            PATIENCE_S,
            "the lease is held by the outer block alone",
        )
    after = len(renewals)
    with renewer.holding(uuid4()):
        until(lambda: len(renewals) > after, PATIENCE_S, "no lease is renewed")

    assert all(lease not in renewal for renewal in renewals[after:])


def test_a_loss_reaches_every_block_that_holds_the_lease() -> None:
    renewer, lease = LeaseRenewer(lambda _: set(), lease_s=0.5), uuid4()
    outer, inner = threading.Event(), threading.Event()

    with renewer.holding(lease, outer.set), renewer.holding(lease, inner.set):
        assert outer.wait(PATIENCE_S)
        assert inner.wait(PATIENCE_S)


def test_a_loss_does_not_reach_a_block_that_was_left() -> None:
    renewer, lease = LeaseRenewer(lambda _: set(), lease_s=0.5), uuid4()
    outer, inner = threading.Event(), threading.Event()

    with renewer.holding(lease, outer.set):
        with renewer.holding(lease, inner.set):
            pass
        assert outer.wait(PATIENCE_S)

    assert not inner.is_set()


def test_the_slot_of_a_slice_is_renewed_as_long_as_it_is_held(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    token = factories.claimed(database, job_id, lease_s=LEASE_S).slot_token
    lost = threading.Event()

    def leases_until() -> set[datetime]:
        with database.autocommit() as transaction:
            held = "SELECT lease_until FROM slots WHERE lease = %(token)s"
            return {row["lease_until"] for row in transaction.all(held, token=token)}

    first = leases_until()
    with _renewer(database).holding(token, lost.set):
        until(lambda: min(leases_until()) > max(first), PATIENCE_S, "the slots are not renewed")
        second = leases_until()
        until(
            lambda: min(leases_until()) > max(second), PATIENCE_S, "the slots are renewed only once"
        )

    assert not lost.is_set()


def test_a_call_comes_from_another_thread_if_the_block_lasts_too_long() -> None:
    renewer = LeaseRenewer(_keep_all, lease_s=600)
    callers: list[str] = []
    called = threading.Event()

    def note() -> None:
        callers.append(threading.current_thread().name)
        called.set()

    with renewer.calling_after(time.monotonic(), note):
        assert called.wait(PATIENCE_S)

    assert callers == ["slice-timer"]


def test_a_block_that_is_left_in_time_has_no_call() -> None:
    renewer = LeaseRenewer(_keep_all, lease_s=600)
    early, late = threading.Event(), threading.Event()

    with renewer.calling_after(time.monotonic() + 0.3, early.set):
        pass
    with renewer.calling_after(time.monotonic() + 0.4, late.set):
        assert late.wait(PATIENCE_S)

    assert not early.is_set()


def test_a_call_that_fails_prevents_no_other() -> None:
    renewer = LeaseRenewer(_keep_all, lease_s=600)
    called = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    now = time.monotonic()
    with renewer.calling_after(now, fail), renewer.calling_after(now + 0.2, called.set):
        assert called.wait(PATIENCE_S)
