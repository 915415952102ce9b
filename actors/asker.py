"""asker: does what is next at the portal, whoever's turn it is, until nothing may be asked.

A message to list or to download only wakes an asker. What is asked next is decided by the rows, at
the moment in which a slot is free; so nobody waits for a slot in a thread, and no job is served
before its turn because its message came first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import structlog

from actors.combiner import Combiner
from actors.download import Downloader, Fetched
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.listing import Lister
from actors.prober import Prober
from storage import claims, tasks, webhooks
from storage.claims import Claim
from storage.database import Database
from storage.errors import ServiceUnavailable
from storage.listing_claims import ListingClaim
from storage.outcomes import Outcome
from storage.slots import LINGER_S
from storage.tasks import Asking, GivenUp, Probe, Task

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Turn:
    """A thread that asks what is next, and what it has fetched before.

    `is_recorded`: that its row says so. `asked`: when the answer began to be made.
    """

    fetched: Fetched | None
    is_recorded: bool = False
    asked: float = 0.0


@dataclass(frozen=True)
class Asker:
    """What asking needs, and who does each kind of work. So many `threads` may ask."""

    database: Database
    messages: Messages
    asking: Asking
    keeper: Keeper
    lister: Lister
    downloader: Downloader
    prober: Prober
    threads: int = 1
    turns: Combiner[_Turn, Task] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Combiner(self._round, threads=self.threads))

    def list_documents(self, job_id: UUID) -> None:
        """Lists the case of a job from what is known already, if it may; else asks in turn."""
        self.lister.reuse(job_id)
        self.download_document(job_id)

    def download_document(self, job_id: UUID) -> None:
        """Asks until nothing may be asked; `job_id` is why it was woken."""
        fetched: Fetched | None = None
        with self.turns.taking_part():
            while not self.keeper.is_stopping:
                turn = _Turn(fetched)
                task = self._next_task(turn)
                self._wake_by_rate(job_id)
                if task is None:
                    return
                # A claim that PostgreSQL answered late may be over, and somebody else's.
                is_late = monotonic() - turn.asked > self.asking.lease_s / 2
                outcome = self._do(task, is_late=is_late)
                if outcome is None:
                    return
                fetched = outcome if isinstance(outcome, Fetched) else None
                if isinstance(outcome, Outcome):
                    self._go_on(job_id, outcome)
        if fetched is not None:
            self.downloader.record(fetched)
        # This process ends: another one goes on.
        self.messages.download_lanes(job_id, 1)

    def _next_task(self, turn: _Turn) -> Task | None:
        """What is next, once what was fetched before is recorded."""
        try:
            task = self.turns.ask(turn)
        except Exception:
            if turn.fetched and not turn.is_recorded:
                self.downloader.record(turn.fetched)
            raise
        if turn.fetched and not turn.is_recorded:
            self.downloader.record(turn.fetched)
            if task is None:
                # When it was asked what is next, this one's slots were taken still.
                self.messages.wake_lanes(turn.fetched.claim.job_id)
        return task

    def _round(self, turns: Sequence[_Turn]) -> list[Task | None]:
        """Records what was fetched, then finds what is next for the first of these, at least.

        Files are the usual, so they are looked for together; all else one at a time, in its turn.
        """
        self._record({t.fetched.claim.lease: t for t in turns if t.fetched and not t.is_recorded})
        begun = monotonic()
        for turn in turns:
            turn.asked = begun
        found, is_more = tasks.next_claims(self.database, self.asking, len(turns))
        if is_more and len(found) == len(turns):
            self.messages.wake_lanes(found[-1].job_id)
        if not is_more:
            return [*found, *[None] * (len(turns) - len(found))]
        if found:
            return [*found]
        task = tasks.next_task(self.database, self.asking)
        if task is None:
            return [None] * len(turns)
        if self.asking.limits.per_minute is None:
            self.messages.wake_lanes(task.job_id)
        return [task]

    def _record(self, turns: Mapping[UUID, _Turn]) -> None:
        """What cannot be recorded together, each thread tries by itself."""
        fetched = [turn.fetched for turn in turns.values() if turn.fetched]
        if not fetched:
            return
        try:
            recorded, wakes = claims.all_spooled(
                self.database, [(each.claim, each.content) for each in fetched]
            )
        except ServiceUnavailable:
            raise
        except Exception:
            log.exception("files not recorded together")
            return
        for lease in recorded:
            turns[lease].is_recorded = True
        self.downloader.hand_over([e.claim for e in fetched if e.claim.lease in recorded], wakes)

    def _do(self, task: Task, *, is_late: bool) -> Fetched | Outcome | None:
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
