"""The steps of a job in one process, driven by the messages that they send and by nothing else.

The portal is the sandbox; PostgreSQL, the bucket and Valkey are the suite's. No clock runs, so
what is not told to go on stands still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import dramatiq
import redis

from actors.asker import Asker
from actors.deadline import Watchdog
from actors.download import Downloader, Fetched
from actors.enqueue import (
    DOWNLOAD_QUEUE,
    LIST_QUEUE,
    WEBHOOK_QUEUE,
    Messages,
    make_broker,
    upload_queue,
)
from actors.keeper import Keeper
from actors.listing import Lister
from actors.portal import Portal
from actors.prober import Prober
from actors.storing import Storer
from actors.upload import Uploader
from storage.database import Database
from storage.documents.leases import renew_leases
from storage.jobs.start import StartRequest
from storage.objects import Objects
from storage.spool import Spool
from tests.integration import scenes
from tests.integration.scenes import ASKING, LANES, POLICY
from tests.sandbox.bearer import Bearer
from tests.sandbox.portal import SandboxPortal

LEASE_S = 60.0
WATCHDOG = Watchdog()


@dataclass(frozen=True)
class Office:
    """A lister, a downloader and an uploader, and the portal that they ask."""

    database: Database
    sandbox: SandboxPortal
    redis: redis.Redis
    messages: Messages
    lister: Lister
    downloader: Downloader
    uploader: Uploader
    asker: Asker

    def storing(self, objects: Objects | None = None, *, at_once: bool, threads: int = 1) -> Office:
        """The same, but small files are put by whoever fetched them, into this bucket.

        `at_once`: before their rows are told that they were fetched. Else the portal has no more
        slots than there are threads, so that somebody always waits for the last one.
        """
        storer = self.uploader.storer
        storer = replace(storer, objects=objects or storer.objects)
        downloader = replace(self.downloader, storer=storer)
        asking = self.asker.asking
        if not at_once:
            limits = replace(asking.limits, at_once=threads, per_court=threads)
            asking = replace(asking, limits=limits)
        asker = replace(
            self.asker, downloader=downloader, storer=storer, asking=asking, threads=threads
        )
        # As if no request had taken any time; or for ever.
        asker.turns._busy_s = -1.0 if at_once else math.inf
        return replace(self, downloader=downloader, asker=asker)

    def list_job(self, job_id: UUID) -> None:
        """Lists this job, if it may be listed now, and does nothing else."""
        self.lister.reuse(job_id)
        claim = scenes.claim_listing(self.database, job_id)
        if claim:
            self.lister.list_case(claim, is_late=False)

    def download(self, job_id: UUID) -> None:
        """Fetches the next document of this job, if there is one, and does nothing else."""
        claim = scenes.claim(self.database, job_id, spool_id=self.uploader.spool.spool_id)
        if claim:
            fetched = self.downloader.download(claim, is_late=False)
            if isinstance(fetched, Fetched):
                self.downloader.record(fetched)

    def begin(
        self,
        number: str,
        client: str = scenes.CLIENT,
        *,
        max_age_s: float = 0,
        webhook_url: str | None = None,
    ) -> UUID:
        """A new job of a case, whose listing waits."""
        wanted = StartRequest(client, number, webhook_url, None, max_age_s, max_age_s)
        view, is_new = scenes.start(self.database, wanted)
        assert is_new
        return view.job.job_id

    def run(
        self,
        number: str,
        client: str = scenes.CLIENT,
        *,
        max_age_s: float = 0,
        webhook_url: str | None = None,
    ) -> UUID:
        """A job of a case, from its start until no message is left."""
        job_id = self.begin(number, client, max_age_s=max_age_s, webhook_url=webhook_url)
        self.messages.list_documents(job_id)
        self.work()
        return job_id

    def work(self) -> None:
        """Does what the messages say, and what those then sent say, until none is left.

        Nobody posts webhooks here.
        """
        does: dict[str, Callable[..., None]] = {
            LIST_QUEUE: self.asker.list_documents,
            DOWNLOAD_QUEUE: self.asker.download_document,
            upload_queue(self.uploader.spool.spool_id): self.uploader.upload_document,
        }
        while sent := self.sent():
            for queue, ids in sent:
                if queue != WEBHOOK_QUEUE:
                    does[queue](*map(UUID, ids))

    def sent(self) -> list[tuple[str, tuple[str, ...]]]:
        """The messages in all queues as (queue, ids), and none are left. Delays are not waited for:
        no row of these tests has one, or the test sees to it.
        """
        found = []
        for key in sorted(self.redis.scan_iter("autos:*.msgs")):
            for raw in self.redis.hvals(key):
                assert isinstance(raw, bytes)
                message = dramatiq.Message.decode(raw)
                found.append((message.queue_name.removesuffix(".DQ"), message.args))
            self.redis.delete(key, key.removesuffix(b".msgs"))
        return found

    def files_asked(self, number: str) -> list[int]:
        """How often each file of the case was asked for, in the order of the case."""
        case = self.sandbox.case(number)
        assert case
        return [self.sandbox.times_asked(document.uuid) for document in case.documents]


@contextmanager
def opened(database: Database, objects: Objects, redis_url: str, spool: Spool) -> Iterator[Office]:
    """An office and a sandbox portal of its own."""
    messages = Messages(make_broker(redis_url, timeout_s=5))
    keeper = Keeper(partial(renew_leases, database, lease_s=LEASE_S), lease_s=LEASE_S)
    with SandboxPortal() as sandbox, redis.Redis.from_url(redis_url) as client:
        portal = Portal(
            base_url=sandbox.url,
            tokens=Bearer(sandbox.token),
            watchdog=WATCHDOG,
            document_max_bytes=10_000_000,
        )
        lister = Lister(
            database=database,
            objects=objects,
            portal=portal,
            watchdog=WATCHDOG,
            messages=messages,
            keeper=keeper,
            policy=POLICY,
            lanes=LANES,
            lease_s=LEASE_S,
        )
        downloader = Downloader(
            database=database,
            portal=portal,
            watchdog=WATCHDOG,
            spool=spool,
            messages=messages,
            keeper=keeper,
            policy=POLICY,
            deadline_s=30,
            per_court=ASKING.limits.per_court,
        )
        storer = Storer(
            database=database,
            objects=objects,
            spool=spool,
            messages=messages,
            keeper=keeper,
            is_stopping=lambda: keeper.is_stopping,
            lanes=LANES,
        )
        uploader = Uploader(
            database=database,
            spool=spool,
            messages=messages,
            storer=storer,
            lease_s=LEASE_S,
        )
        asker = Asker(
            database=database,
            messages=messages,
            asking=replace(ASKING, spool_id=spool.spool_id),
            keeper=keeper,
            lister=lister,
            downloader=downloader,
            prober=Prober(database, portal, keeper, POLICY, LEASE_S),
        )
        yield Office(database, sandbox, client, messages, lister, downloader, uploader, asker)
        portal.close()
