"""asker: does what is next at the portal, whoever's turn it is, until nothing may be asked.

A message to list or to download only wakes an asker. What is asked next is decided by the rows, at
the moment in which a slot is free; so nobody waits for a slot in a thread, and no job is served
before its turn because its message came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import structlog

from actors.combiner import Combiner
from actors.download import Downloader
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.listing import Lister
from actors.prober import Prober
from storage import tasks, webhooks
from storage.claims import Claim
from storage.database import Database
from storage.listing_claims import ListingClaim
from storage.outcomes import Outcome
from storage.slots import LINGER_S
from storage.tasks import Asking, GivenUp, Other, Probe, Task

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Asker:
    """What asking needs, and who does each kind of work."""

    database: Database
    messages: Messages
    asking: Asking
    keeper: Keeper
    lister: Lister
    downloader: Downloader
    prober: Prober
    claims: Combiner[None, Claim | Other | None] = field(init=False)

    def __post_init__(self) -> None:
        def next_claims(askers: Sequence[None]) -> list[Claim | Other | None]:
            return tasks.next_claims(self.database, self.asking, len(askers))

        object.__setattr__(self, "claims", Combiner(next_claims))

    def list_documents(self, job_id: UUID) -> None:
        """Lists the case of a job from what is known already, if it may; else asks in turn."""
        self.lister.reuse(job_id)
        self.download_document(job_id)

    def download_document(self, job_id: UUID) -> None:
        """Asks until nothing may be asked; `job_id` is why it was woken."""
        while not self.keeper.is_stopping:
            begun = monotonic()
            task = self._next_task()
            if task is None:
                self._wake_by_rate(job_id)
                return
            self._wake_by_rate(job_id)
            # A claim that PostgreSQL answered late may be over, and somebody else's.
            is_late = monotonic() - begun > self.asking.lease_s / 2
            outcome = self._do(task, is_late=is_late)
            if outcome is None:
                return
            self._go_on(job_id, outcome)
        # This process ends: another one goes on.
        self.messages.download_lanes(job_id, 1)

    def _next_task(self) -> Task | None:
        found = self.claims.ask(None)
        # What is seldom, a listing or a probe, each thread looks for by itself.
        return tasks.next_task(self.database, self.asking) if isinstance(found, Other) else found

    def _do(self, task: Task, *, is_late: bool) -> Outcome | None:
        """What came of it; None: something of ours is away, and asking on would not help."""
        match task:
            case Claim():
                return self.downloader.download(task, is_late=is_late)
            case ListingClaim():
                return self.lister.list_case(task, is_late=is_late)
            case Probe():
                return self.prober.probe(task)
            case GivenUp():
                log.warning("job ended: its listing lost too many workers", job_id=str(task.job_id))
                due = webhooks.due(self.database, task.job_id)
                self.messages.send_webhooks(task.job_id, due)
                return Outcome(None, job_has_ended=True)

    def _go_on(self, job_id: UUID, outcome: Outcome) -> None:
        """Wakes others for what may be asked beside what this one asks next."""
        if outcome.delay_s:
            self.messages.download_lanes(job_id, 1, delay_s=outcome.delay_s)
        if outcome.lingers:
            self.messages.download_lanes(job_id, 1, delay_s=LINGER_S)
        if outcome.wakes:
            limits = self.asking.limits
            self.messages.download_lanes(job_id, min(outcome.wakes, limits.per_court))

    def _wake_by_rate(self, job_id: UUID) -> None:
        if self.asking.limits.per_minute is None:
            return
        wait_s = tasks.next_by_rate_s(self.database)
        if wait_s is not None:
            self.messages.download_lanes(job_id, 1, delay_s=wait_s)
