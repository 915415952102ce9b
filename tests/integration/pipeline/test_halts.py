"""Test that a halt of one process ends the slices of all. Without Valkey, renewals do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.hints.hint_channel import HintSender
from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.request_gate import RequestGate
from actors.runtime.halt_listener import HaltListener
from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from server.dependencies import ServerDependencies
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.portal.slots import court_of
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, held_slots
from tests.integration.harness.grpc_server import api_of, running_server, service_parts
from tests.integration.harness.pipeline_harness import LEASE_S, PipelineHarness, running_pipeline
from tests.integration.harness.pipeline_hooks import hooked_fetcher

DOCUMENTS = 4
WAIT_S = 60.0
# A scope that the test halts until the listener has received it once.
GREETING = "greeting"


@dataclass
class Halts:
    """A pipeline with a gate that receives other processes' halts, and the halts received."""

    pipeline: PipelineHarness
    sender: HintSender
    heard: list[str] = field(default_factory=list)
    is_heard: threading.Event = field(default_factory=threading.Event)

    def hear(self, scope: str) -> None:
        """Halt a scope in this process."""
        if scope == GREETING:
            self.is_heard.set()
            return
        self.pipeline.slices.fetcher.gate.halt(scope)
        self.heard.append(scope)

    def await_heard(self, scope: str) -> None:
        """Wait until this process has received the halt of a scope."""
        until(lambda: scope in self.heard, WAIT_S, f"{scope!r} is not halted")

    def greet(self) -> bool:
        """Return True if this process listens."""
        self.sender.halt(GREETING)
        return self.is_heard.wait(0.1)


@pytest.fixture
def halts(database: Database, objects: Objects, redis_url: str, tmp_path: Path) -> Iterator[Halts]:
    """Yield a pipeline with a listener, and a sender of another process."""
    spool = Spool(tmp_path / "spool", uuid4(), 2**32)
    with running_pipeline(database, objects, redis_url, spool) as pipeline:
        halts = Halts(pipeline, HintSender(pipeline.redis))
        listener = HaltListener(pipeline.redis, pipeline.slices.hints.sender_id, halts.hear)
        listener.start()
        until(halts.greet, WAIT_S, "no listener")
        yield halts
        listener.stop()
        # A message ends its wait for one.
        halts.greet()
        listener._thread.join(WAIT_S)
        assert not listener._thread.is_alive()


def _listed(pipeline: PipelineHarness, **case: Any) -> tuple[str, UUID]:
    """Return a case of a fast court and its job with waiting documents."""
    number = pipeline.sandbox.add_case(**{"documents": DOCUMENTS, **case})
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    factories.make_quick(pipeline.database, court_of(number))
    return number, job_id


def _fetching(pipeline: PipelineHarness, after_first: Callable[[], object]) -> PipelineHarness:
    """Return a pipeline that calls `after_first` at the first answer of a slice.

    Its renewals find every lease held.
    """
    calls = [after_first]
    renewer = LeaseRenewer(lambda leases: leases, lease_s=LEASE_S)
    fetcher = hooked_fetcher(pipeline.slices.fetcher, lambda _: calls and calls.pop()())
    return pipeline.with_slices(renewer=renewer, fetcher=replace(fetcher, renewer=renewer))


def test_a_slice_of_a_job_that_is_cancelled_elsewhere_makes_no_further_request(
    halts: Halts,
) -> None:
    number, job_id = _listed(halts.pipeline)
    _, other = _listed(halts.pipeline)

    def cancel() -> None:
        job_queries.cancel(halts.pipeline.database, CLIENT, job_id)
        halts.sender.halt(str(job_id))
        halts.await_heard(str(job_id))

    _fetching(halts.pipeline, cancel).download(job_id, DOCUMENTS)

    assert halts.pipeline.requested_files(number) == [1, 0, 0, 0]
    rows = factories.documents(halts.pipeline.database, job_id)
    assert {row["state"] for row in rows} == {"CANCELLED"}
    assert halts.pipeline.recorder.answered.await_freed(WAIT_S)
    assert held_slots(halts.pipeline.database, longer_than_s=2) == 0
    # Other jobs go on.
    halts.pipeline.download(other, DOCUMENTS)
    rows = factories.documents(halts.pipeline.database, other)
    assert {row["state"] for row in rows} == {"AVAILABLE"}


@pytest.mark.parametrize("step", ["download", "list"])
def test_a_pause_that_another_process_has_met_ends_a_slice(halts: Halts, step: str) -> None:
    pipeline = halts.pipeline
    number, job_id = _listed(pipeline)
    gate = RequestGate(lambda: False, halts.sender.halt)
    elsewhere = pipeline.with_fetcher(gate=gate).with_lister(gate=gate)
    if step == "list":
        refused = pipeline.begin(pipeline.sandbox.add_case(documents=1, list_fault="too-fast"))
    else:
        _, refused = _listed(pipeline, documents=1, faults={0: "too-fast"})

    def meet_pause() -> None:
        elsewhere.list_job(refused) if step == "list" else elsewhere.download(refused)
        halts.await_heard("")

    _fetching(pipeline, meet_pause).download(job_id, DOCUMENTS)

    assert pipeline.requested_files(number) == [1, 0, 0, 0]
    states = [row["state"] for row in factories.documents(pipeline.database, job_id)]
    assert states == ["AVAILABLE", *["PENDING"] * 3]


def test_a_process_does_not_halt_itself_a_second_time(halts: Halts) -> None:
    halts.pipeline.slices.hints.halt("its own")
    halts.sender.halt("another's")

    halts.await_heard("another's")

    assert halts.heard == ["another's"]


def test_a_call_that_cancels_a_job_halts_it(
    halts: Halts, database: Database, objects: Objects, redis_url: str
) -> None:
    _, job_id = _listed(halts.pipeline)

    async def cancel(parts: ServerDependencies) -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            await api.CancelJob(pb.CancelJobRequest(job_id=str(job_id)))

    with service_parts(database, objects, redis_url) as parts:
        asyncio.run(cancel(parts))

    halts.await_heard(str(job_id))


def test_a_listener_whose_connection_is_cut_listens_again(halts: Halts) -> None:
    halts.is_heard.clear()
    halts.pipeline.redis.client_kill_filter(_type="pubsub")

    until(halts.greet, WAIT_S, "nothing is heard any more")
