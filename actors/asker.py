"""asker: does what is next at the portal, whoever's turn it is, until nothing may be asked.

A message to list or to download only wakes an asker. What is asked next is decided by the rows, at
the moment in which a slot is free; so nobody waits for a slot in a thread, and no job is served
before its turn because its message came first.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import structlog

from actors.combiner import LATER, Combiner, Later
from actors.download import Downloader, Fetched
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.listing import Lister
from actors.prober import Prober
from actors.storing import Put, Storer
from storage import claims, tasks, webhooks
from storage.claims import Claim, Spooled
from storage.database import Database
from storage.documents import record
from storage.documents.record import BUSY_ROUNDS, FetchedFile, Round
from storage.listing_claims import ListingClaim
from storage.outcomes import Outcome
from storage.slots import LINGER_S
from storage.tasks import Asking, GivenUp, Probe, Task

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _ToPut:
    """A file that whoever has fetched it is to put, before it asks for more."""

    file: Spooled
    data: bytes


@dataclass(slots=True, eq=False)
class _Turn:
    """A thread that asks what is next, and what it has fetched or put before.

    `is_recorded`: that the row of what was fetched says so. `asked`: when the answer began to be
    made. `wakes`: a job for whose like somebody else is to be woken, once the others have theirs.
    """

    done: Fetched | Put | None = None
    is_recorded: bool = False
    asked: float = 0.0
    wakes: UUID | None = None
    busy_rounds: int = 0

    def is_next_round(self, busy: Container[UUID]) -> bool:
        """Count a round in which another transaction held a row of what was done, if one did.

        Returns whether it is recorded with the next one; after BUSY_ROUNDS it is recorded alone.
        """
        lease = self.done.lease if self.done else None
        if lease not in busy:
            return False
        self.busy_rounds += 1
        return self.busy_rounds < BUSY_ROUNDS

    @property
    def fetched(self) -> Fetched | None:
        """What was fetched, until its row says so."""
        return self.done if isinstance(self.done, Fetched) and not self.is_recorded else None

    @property
    def unrecorded(self) -> UUID | None:
        """The job of what was done, until its row says so."""
        if isinstance(self.done, Put):
            return None if self.done.is_recorded else self.done.file.job_id
        return self.fetched.claim.job_id if self.fetched else None


@dataclass(frozen=True)
class Asker:
    """What asking needs, and who does each kind of work. So many `threads` may ask.

    With a `storer`, small files are put by whoever fetched them.
    """

    database: Database
    messages: Messages
    asking: Asking
    keeper: Keeper
    lister: Lister
    downloader: Downloader
    prober: Prober
    storer: Storer | None = None
    threads: int = 1
    turns: Combiner[_Turn, Task | _ToPut] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Combiner(self._round, threads=self.threads))

    def list_documents(self, job_id: UUID) -> None:
        """Lists the case of a job from what is known already, if it may; else asks in turn."""
        self.lister.reuse(job_id)
        self.download_document(job_id)

    def download_document(self, job_id: UUID) -> None:
        """Asks until nothing may be asked; `job_id` is why it was woken."""
        done: Fetched | Put | None = None
        with self.turns.taking_part():
            while not self.keeper.is_stopping:
                turn = _Turn(done)
                task = self._next_task(turn)
                self._wake_by_rate(job_id)
                if task is None:
                    return
                if isinstance(task, _ToPut):
                    done = self._put(task)
                    continue
                # A claim that PostgreSQL answered late may be over, and somebody else's.
                is_late = monotonic() - turn.asked > self.asking.lease_s / 2
                outcome = self._do(task, is_late=is_late)
                if outcome is None:
                    return
                done = self._put_at_once(outcome) if isinstance(outcome, Fetched) else None
                if isinstance(outcome, Outcome):
                    self._go_on(job_id, outcome)
                # Or a file would stay in memory until the next one is there.
                outcome = None
        self._record(_Turn(done))
        # This process ends: another one goes on.
        self.messages.download_lanes(job_id, 1)

    def _next_task(self, turn: _Turn) -> Task | _ToPut | None:
        """What is next, once what was done before is recorded."""
        try:
            task = self.turns.ask(turn)
        except Exception:
            self._record(turn)
            raise
        if job_id := turn.unrecorded:
            self._record(turn)
            if task is None:
                # When it was asked what is next, this one's slots and lane were taken still.
                self.messages.wake_lanes(job_id)
        if turn.wakes:
            self.messages.wake_lanes(turn.wakes)
        return task

    def _record(self, turn: _Turn) -> None:
        """What was not recorded with others is recorded by itself."""
        if turn.fetched:
            self.downloader.record(turn.fetched)
        elif self.storer and isinstance(turn.done, Put) and not turn.done.is_recorded:
            self.storer.record(turn.done)

    def _put_at_once(self, fetched: Fetched) -> Fetched | Put:
        """Puts a small file before its row is told of it, unless its slots may be waited for."""
        if self.storer is None or fetched.data is None or not fetched.claim.is_relaxed:
            return fetched
        file = claims.fresh(fetched.claim, fetched.content)
        put = self.storer.put_at_once(file, fetched.data)
        return put or self.downloader.lay_down(fetched)

    def _put(self, task: _ToPut) -> Put | None:
        return self.storer.put(task.file, task.data)[0] if self.storer else None

    def _round(self, turns: Sequence[_Turn]) -> Sequence[Task | _ToPut | Later | None]:
        """Records what was done, then finds what is next for the first of these, at least.

        Files are the usual, so they are looked for together; all else one at a time, in its turn.
        Whoever has something left to record gets nothing: it may take long, and he would hold it.
        """
        done: Round = Round()
        if self.storer:
            done = self.storer.record_all([t.done for t in turns if isinstance(t.done, Put)])
        to_put, busy = self._spooled([turn for turn in turns if turn.fetched])
        later = [turn for turn in turns if turn.is_next_round(done.busy | busy)]
        free = [turn for turn in turns if not turn.unrecorded]
        answers: dict[_Turn, Task | _ToPut | Later | None] = dict.fromkeys(later, LATER)
        if to_put:
            if len(to_put) == len(free):
                # Its slots are free, and nobody here asks for them before it has put the file.
                free[0].wakes = to_put[free[0]].file.job_id
            # Whatever happens to the rest must not keep these waiting: nobody renews their leases.
            answers |= {turn: to_put.get(turn, LATER) for turn in free}
        elif free:
            answers |= zip(free, self._found(free), strict=True)
        return [answers.get(turn) for turn in turns]

    def _found(self, turns: Sequence[_Turn]) -> list[Task | Later | None]:
        begun = monotonic()
        for turn in turns:
            turn.asked = begun
        found, is_more = tasks.next_claims(self.database, self.asking, len(turns))
        if is_more and len(found) == len(turns):
            turns[-1].wakes = found[-1].job_id
        if not is_more:
            return [*found, *[None] * (len(turns) - len(found))]
        if found:
            return [*found, *[LATER] * (len(turns) - len(found))]
        task = tasks.next_task(self.database, self.asking)
        if task is None:
            return [None] * len(turns)
        if self.asking.limits.per_minute is None:
            turns[0].wakes = task.job_id
        return [task, *[LATER] * (len(turns) - 1)]

    def _spooled(self, turns: Sequence[_Turn]) -> tuple[dict[_Turn, _ToPut], set[UUID]]:
        """Has the rows of files say that they were fetched; those that are to be put here.

        And the claims whose rows another transaction holds.
        """
        by_lease = {turn.fetched.claim.lease: turn for turn in turns if turn.fetched}
        fetched = [turn.fetched for turn in turns if turn.fetched]
        if not fetched:
            return {}, set()
        in_memory = {each.claim.lease: each.data for each in fetched if each.data is not None}
        done = record.record_fetched(
            self.database,
            [
                FetchedFile(each.claim, each.content, each.claim.lease, each.data is not None)
                for each in fetched
            ],
            lease_s=self.asking.lease_s,
        )
        for lease in done.recorded:
            by_lease[lease].is_recorded = True
        self.downloader.hand_over([f for lease, f in done.files.items() if lease not in in_memory])
        self.downloader.wake(fetched[0].claim.job_id, done.begins)
        to_put = {
            by_lease[lease]: _ToPut(done.files[lease], data)
            for lease, data in in_memory.items()
            if lease in done.recorded
        }
        return to_put, done.busy

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
