"""Test that a thread which the machine refuses to start does not count as started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.answered_slices import AnsweredSlices
from actors.resilience.exchange_deadline import Watchdog
from actors.runtime.fallback import FallbackPolling
from dev.processes.deadline import until
from storage.jobs.change_notifications import ChangePublisher

WAIT_S = 60.0
# No machine has room for a stack of this size, so no thread starts.
NO_ROOM_BYTES = 1 << 46


@contextmanager
def _no_threads() -> Iterator[None]:
    usual = threading.stack_size(NO_ROOM_BYTES)
    try:
        yield
    finally:
        threading.stack_size(usual)


def test_leases_are_renewed_once_threads_start_again_and_none_is_held_before() -> None:
    renewed: list[set[UUID]] = []

    def renew(leases: set[UUID]) -> set[UUID]:
        renewed.append(leases)
        return leases

    renewer = LeaseRenewer(renew, lease_s=0.5)
    refused, held = uuid4(), uuid4()

    with _no_threads(), pytest.raises(RuntimeError, match="thread"), renewer.holding(refused):
        pytest.fail("A lease is held that no thread renews.")

    with renewer.holding(held):
        until(lambda: bool(renewed), WAIT_S, "No lease is renewed.")
    assert renewed[0] == {held}


def test_an_exchange_ends_at_its_limit_once_threads_start_again() -> None:
    watchdog = Watchdog()
    with _no_threads(), pytest.raises(RuntimeError, match="thread"), watchdog.limit(0.1):
        pytest.fail("An exchange has no limit.")

    near, far = socket.socketpair()
    with near, far, watchdog.limit(0.1) as deadline:
        deadline.watch(SimpleNamespace(sock=near))
        far.settimeout(WAIT_S)
        assert far.recv(1) == b"", "The exchange goes on."


def test_slots_are_freed_once_threads_start_again() -> None:
    freed: list[UUID] = []
    slices = AnsweredSlices(freed.extend)
    first, second = uuid4(), uuid4()
    with _no_threads():
        slices.add(first)

    slices.add(second)

    until(lambda: len(freed) == 2, WAIT_S, "A slot is not freed.")
    assert set(freed) == {first, second}


def test_a_committed_change_does_not_fail_for_want_of_a_thread() -> None:
    publisher = ChangePublisher("redis://127.0.0.1:1/0")
    with _no_threads():
        publisher.announce(uuid4(), 1)
    assert not publisher._is_running

    publisher.announce(uuid4(), 1)
    assert publisher._is_running


def test_work_that_was_found_is_done_without_a_further_thread() -> None:
    done: list[int] = []

    def poll(found: Callable[[], None]) -> bool:
        found()
        done.append(1)
        return False

    polling = FallbackPolling(poll, threads=4, name="test")
    with _no_threads():
        polling._poll_until_idle()
    assert done
    assert polling._running == 0
