"""Run the steps of a job in one process by polling the rows: no scheduler proposes.

The portal is the sandbox; PostgreSQL, the bucket and Valkey are the suite's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import dramatiq
import redis

from actors.hints.hint_channel import HintReceiver, HintSender
from actors.hints.hints import Hint
from actors.leases.lease_renewer import LeaseRenewer
from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.pipeline.fetch import DocumentFetcher
from actors.pipeline.file_recorder import FileRecorder
from actors.pipeline.job_end import JobEnds
from actors.pipeline.listing_step import Lister
from actors.pipeline.object_writer import BucketHealth, ObjectWriter
from actors.pipeline.prober import Prober
from actors.pipeline.request_gate import RequestGate
from actors.pipeline.slices import SliceRunner
from actors.pipeline.upload import Uploader
from actors.pipeline.worker import Worker
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Watchdog
from storage.documents.leases import renew_leases
from storage.jobs.job_start import StartRequest
from storage.objects.object_store import Objects
from storage.portal.listing_claims import ListingClaim
from storage.portal.request_claims import Slice, claim
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness import factories
from tests.integration.harness.factories import POLICY
from tests.sandbox.keycloak.static_token import SandboxToken
from tests.sandbox.portal import SandboxPortal

LEASE_S = 60.0
THREADS = 4
# A busy machine must not make the bucket count as slow.
PUT_LIMIT_S = 20.0
# A busy machine makes all requests of a slice, however long it takes.
START_WITHIN_S = 30.0
WATCHDOG = Watchdog()


def _nothing() -> None:
    """Start no further thread: the test polls by itself."""


@dataclass(frozen=True)
class PipelineHarness:
    """A worker and an uploader of one process, and the portal that they request from."""

    database: Database
    sandbox: SandboxPortal
    redis: redis.Redis
    messages: Enqueuer
    worker: Worker
    uploader: Uploader

    @property
    def slices(self) -> SliceRunner:
        """Return the part that runs slices."""
        return self.worker.slices

    @property
    def lister(self) -> Lister:
        """Return the part that lists cases."""
        return self.worker.lister

    @property
    def recorder(self) -> FileRecorder:
        """Return the part that records the worker's files."""
        return self.slices.recorder

    @property
    def writer(self) -> ObjectWriter:
        """Return the part that uploads the worker's files."""
        return self.slices.writer

    @property
    def spool(self) -> Spool:
        """Return the spool of this process."""
        return self.uploader.spool

    def with_bucket(self, objects: Objects, *, put_limit_s: float = PUT_LIMIT_S) -> PipelineHarness:
        """Return a harness with a worker that uploads to this bucket; its uploader is the same."""
        health = BucketHealth(THREADS, put_limit_s=put_limit_s)
        writer = replace(self.writer, objects=objects, health=health)
        fetcher = replace(self.slices.fetcher, is_bucket_ready=lambda: health.is_ready)
        recorder = replace(self.recorder, writer=writer, fetcher=fetcher)
        recorder.answered = self.recorder.answered
        return self.with_slices(writer=writer, fetcher=fetcher, recorder=recorder)

    def with_slices(self, **parts: Any) -> PipelineHarness:
        """Return a harness with a worker that runs slices with other parts."""
        slices = replace(self.slices, **parts)
        return replace(self, worker=replace(self.worker, slices=slices))

    def with_fetcher(self, **changes: Any) -> PipelineHarness:
        """Return a harness with a fetcher that has these fields changed."""
        slices = replace(self.slices, fetcher=replace(self.slices.fetcher, **changes))
        return replace(self, worker=replace(self.worker, slices=slices))

    def by_spool(self) -> PipelineHarness:
        """Return a harness with a worker that writes every file to the spool."""
        return self.with_fetcher(is_bucket_ready=lambda: False)

    def with_lister(self, **parts: Any) -> PipelineHarness:
        """Return a harness with a worker that lists cases with other parts."""
        lister = replace(self.lister, **parts)
        return replace(self, worker=replace(self.worker, lister=lister))

    def with_limits(self, limits: Limits) -> PipelineHarness:
        """Return a harness that claims within these limits."""
        context = replace(self.worker.context, limits=limits)
        return replace(self, worker=replace(self.worker, context=context))

    def begin(
        self,
        number: str,
        client: str = factories.CLIENT,
        *,
        max_age_s: float = 0,
        webhook_url: str | None = None,
    ) -> UUID:
        """Start a new job of a case and leave its listing waiting."""
        wanted = StartRequest(client, number, webhook_url, None, max_age_s, max_age_s)
        view, is_new = factories.start(self.database, wanted)
        assert is_new
        return view.job.job_id

    def run(
        self,
        number: str,
        client: str = factories.CLIENT,
        *,
        max_age_s: float = 0,
        webhook_url: str | None = None,
    ) -> UUID:
        """Start a job of a case, and work until nothing is left to do."""
        job_id = self.begin(number, client, max_age_s=max_age_s, webhook_url=webhook_url)
        self.work()
        return job_id

    def work(self) -> None:
        """Do what the rows allow until nothing is left. Webhooks are not sent here."""
        while self.worker.poll(_nothing) or self.uploader.poll(_nothing):
            pass

    def list_job(self, job_id: UUID) -> None:
        """List this job, if it may be listed now, and do nothing else."""
        answer = claim(self.database, self.worker.context, job_id)
        if isinstance(answer, ListingClaim):
            listed = self.lister.list_case(answer, proposal_id=None)
            self.lister.send_end(answer, listed)

    def slice_of(self, job_id: UUID, count: int = 1) -> Slice:
        """Claim up to `count` documents of this job; there must be one."""
        answer = claim(self.database, self.worker.context, job_id, count)
        assert isinstance(answer, Slice), answer
        return answer

    def download(self, job_id: UUID, count: int = 1) -> None:
        """Run one slice of this job, if one may begin now, and do nothing else."""
        answer = claim(self.database, self.worker.context, job_id, count)
        if isinstance(answer, Slice):
            self.run_slice(answer)

    def run_slice(self, slice_: Slice) -> None:
        """Request, upload and record the documents of a newly claimed slice."""
        self.slices.run(slice_, proposal_id=None, claimed_at=monotonic())

    def sent(self) -> list[tuple[str, tuple[str, ...]]]:
        """Take the messages out of all queues, as (queue, arguments)."""
        found = []
        for key in sorted(self.redis.scan_iter("autos:*.msgs")):
            for raw in self.redis.hvals(key):
                assert isinstance(raw, bytes)
                message = dramatiq.Message.decode(raw)
                found.append((message.queue_name.removesuffix(".DQ"), message.args))
            self.redis.delete(key, key.removesuffix(b".msgs"))
        return found

    def hinted(self) -> list[Hint]:
        """Take the hints that were sent to the scheduler."""
        return HintReceiver(self.redis).receive(0)

    def requested_files(self, number: str) -> list[int]:
        """Return how often each file of the case was requested, in the order of the case."""
        case = self.sandbox.case(number)
        assert case
        return [self.sandbox.request_count(document.uuid) for document in case.documents]


@contextmanager
def running_pipeline(
    database: Database, objects: Objects, redis_url: str, spool: Spool
) -> Iterator[PipelineHarness]:
    """Yield a harness with a sandbox portal of its own."""
    messages = Enqueuer(make_broker(redis_url, timeout_s=5))
    renewer = LeaseRenewer(partial(renew_leases, database, lease_s=LEASE_S), lease_s=LEASE_S)
    with SandboxPortal() as sandbox, redis.Redis.from_url(redis_url) as client:
        portal = Portal(
            base_url=sandbox.url,
            tokens=SandboxToken(sandbox.token),
            watchdog=WATCHDOG,
            document_max_bytes=10_000_000,
        )
        hints = HintSender(client)
        ends = JobEnds(database, messages, hints)
        gate = RequestGate(lambda: renewer.is_stopping, hints.halt)
        health = BucketHealth(THREADS, put_limit_s=PUT_LIMIT_S)
        writer = ObjectWriter(objects, spool, renewer, health)
        fetcher = DocumentFetcher(
            database=database,
            portal=portal,
            watchdog=WATCHDOG,
            spool=spool,
            renewer=renewer,
            policy=POLICY,
            deadline_s=30,
            lease_s=LEASE_S,
            is_bucket_ready=lambda: writer.health.is_ready,
            gate=gate,
            ends=ends,
        )
        recorder = FileRecorder(
            database=database,
            spool=spool,
            ends=ends,
            writer=writer,
            fetcher=fetcher,
            is_stopping=lambda: renewer.is_stopping,
        )
        lister = Lister(
            database=database,
            objects=objects,
            portal=portal,
            watchdog=WATCHDOG,
            ends=ends,
            hints=hints,
            renewer=renewer,
            policy=POLICY,
            lease_s=LEASE_S,
            gate=gate,
        )
        slices = SliceRunner(
            database=database,
            fetcher=fetcher,
            writer=writer,
            spool=spool,
            recorder=recorder,
            renewer=renewer,
            hints=hints,
            start_within_s=START_WITHIN_S,
        )
        worker = Worker(
            database=database,
            context=replace(factories.CLAIM_CONTEXT, spool_id=spool.spool_id),
            hints=hints,
            lister=lister,
            slices=slices,
            prober=Prober(database, portal, renewer, POLICY, hints, LEASE_S, gate),
            ends=ends,
            renewer=renewer,
            now_ms=lambda: 0,
        )
        uploader = Uploader(
            database=database,
            spool=spool,
            writer=writer,
            recorder=replace(recorder, fetcher=None),
            messages=messages,
            ends=ends,
            hints=hints,
            lease_s=LEASE_S,
            is_stopping=lambda: renewer.is_stopping,
        )
        yield PipelineHarness(database, sandbox, client, messages, worker, uploader)
        assert recorder.answered.await_freed(60)
        portal.close()
