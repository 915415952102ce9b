"""upload: what lies in the spool into the bucket; then the document is available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from actors.combiner import LATER, Combiner, Later
from actors.enqueue import Messages
from actors.storing import Put, Storer
from storage.claims import Spooled
from storage.database import Database
from storage.documents import uploads
from storage.documents.record import BUSY_ROUNDS, StoredRound
from storage.spool import Spool


@dataclass(slots=True, eq=False)
class _Turn:
    """A thread that asks for a file, and what it has put before.

    `woken_by`: the claim whose message woke it, at first. `busy_rounds`: how many rounds in a row
    another transaction held a row of what was put.
    """

    put: Put | None = None
    woken_by: UUID | None = None
    busy_rounds: int = 0


@dataclass(frozen=True)
class Uploader:
    """What emptying a spool needs. So many `threads` may store."""

    database: Database
    spool: Spool
    messages: Messages
    storer: Storer
    lease_s: float
    threads: int = 1
    turns: Combiner[_Turn, Spooled] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Combiner(self._round, threads=self.threads))

    def upload_document(self, job_id: UUID, document_id: UUID, lease: UUID) -> None:
        """Stores the file of a claim, unless somebody does or nobody wants it any more.

        Then any other file that waits: its message may not have been sent, since this one was.
        """
        turn = _Turn(woken_by=lease)
        with self.turns.taking_part():
            while True:
                file = self._next(turn)
                if file is None:
                    return
                put, is_there = self.storer.put(file)
                turn = _Turn(put=put)
                if not is_there or self.storer.is_stopping():
                    break
        if put is not None:
            self.storer.record(put)
        if self.storer.is_stopping():
            # Another process goes on.
            self.messages.upload(self.spool.spool_id, job_id, document_id, lease)

    def _next(self, turn: _Turn) -> Spooled | None:
        """A file that waits, once what was put before is recorded."""
        try:
            return self.turns.ask(turn)
        finally:
            if turn.put and not turn.put.is_recorded:
                self.storer.record(turn.put)

    def _round(self, turns: Sequence[_Turn]) -> list[Spooled | Later | None]:
        """Records what was put, then takes files for all of these."""
        done = self.storer.record_all([turn.put for turn in turns if turn.put])
        for job_id in [*done.freed_lanes][:1]:
            # Lanes are free again. The workers that waited for them have gone on to other jobs.
            self.messages.wake_lanes(job_id)
        free = [turn for turn in turns if not self._is_next_round(turn, done)]
        found = iter(self._taken(free))
        return [next(found, None) if turn in free else LATER for turn in turns]

    def _is_next_round(self, turn: _Turn, done: StoredRound) -> bool:
        if turn.put is None or turn.put.file.lease not in done.busy:
            return False
        turn.busy_rounds += 1
        return turn.busy_rounds < BUSY_ROUNDS

    def _taken(self, turns: Sequence[_Turn]) -> list[Spooled]:
        if not turns:
            return []
        found = uploads.take_uploads(
            self.database,
            self.spool.spool_id,
            woken_by=[turn.woken_by for turn in turns if turn.woken_by],
            most=len(turns),
            lease_s=self.lease_s,
        )
        if found.are_more:
            last = found.files[-1]
            self.messages.wake_uploader(
                self.spool.spool_id, last.job_id, last.document_id, last.lease
            )
        return found.files
