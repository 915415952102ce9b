"""The running jobs in the scheduler's memory: derived from readings, updated early by hints.

A reading replaces the memory in its range, except what hints added since it began. An entry that
hints removed stays removed, too: a token is never used twice, so an ended one does not come back.
Tokens and documents are kept in sets; there are no counters.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from actors.hints.hints import Ended, SliceBegun
from storage.scheduling.row_values import JobRow, JobsReading

# No reading takes longer, so removals by hints need not be remembered longer.
REMEMBERED_S = 15.0

_NONE: dict[UUID, float] = {}


@dataclass(slots=True, eq=False)
class RememberedRun:
    """A running job: the row as read, and the changes by hints since that reading began.

    Each of the four dictionaries maps ids to the times of their hints: `slices` that began,
    `spooled` documents, documents that slices have `taken` and that were `returned` before their
    requests. An id from a reading has the time -inf.
    """

    row: JobRow
    read_at: float
    slices: dict[UUID, float]
    spooled: dict[UUID, float]
    taken: dict[UUID, float]
    returned: dict[UUID, float]
    # The last answer of a claim, if it arrived since the reading began.
    has_more: bool | None = None
    answered_at: float = float("-inf")
    next_not_before: float | None = None

    @property
    def lanes_taken(self) -> int:
        """Return the lanes that slices and spooled documents take."""
        return len(self.slices) + len(self.spooled)

    def ready(self, now: float) -> int:
        """Return how many documents may begin now, as far as the memory shows."""
        row = self.row
        if row.needs_listing:
            return 0
        count = max(0, row.fresh + row.due - len(self.taken)) + len(self.returned)
        if self.has_more is not None:
            count = max(1, count) if self.has_more else len(self.returned)
        if self.next_not_before is not None and self.next_not_before <= now:
            count += 1
        return count


class RunState:
    """All running jobs by id. Every method returns the ids of the jobs that it changed."""

    def __init__(self) -> None:
        self._runs: dict[UUID, RememberedRun] = {}
        self._keys: list[int] = []
        # Slices of all jobs that are not recorded yet.
        self._unrecorded: set[UUID] = set()
        # Tokens, documents and jobs that ended, with the times of the hints.
        self._ended: dict[UUID, float] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[RememberedRun]:
        return iter(self._runs.values())

    def get(self, job_id: UUID) -> RememberedRun | None:
        """Return a running job; None if it is not in memory."""
        return self._runs.get(job_id)

    @property
    def unrecorded(self) -> int:
        """Return how many slices began and are not recorded yet, as far as the memory shows."""
        return len(self._unrecorded)

    def is_unrecorded(self, token: UUID) -> bool:
        """Return whether this slice of a job in memory is not recorded yet."""
        return token in self._unrecorded

    def has_ended(self, token: UUID) -> bool:
        """Return whether a recent hint reported the end of this slice, document or job."""
        return token in self._ended

    # Readings

    def merge(self, reading: JobsReading) -> set[UUID]:
        """Take the jobs of a reading. Forget the jobs that it should contain and lacks."""
        touched = {row.job_id for row in reading.jobs if self._take(row, reading.began_at)}
        if reading.is_whole:
            there = {row.job_id.int for row in reading.jobs}
            for job_id in [UUID(int=key) for key in self._range(reading) if key not in there]:
                if self._runs[job_id].read_at < reading.began_at:
                    self._remove(job_id)
                    touched.add(job_id)
        return touched

    def want(self, row: JobRow, now: float) -> set[UUID]:
        """Add a job from the hint JobWanted, unless the memory of its run is newer."""
        known = self._runs.get(row.job_id)
        if known and known.row.run_began_at == row.run_began_at:
            if row.needs_listing and not known.row.needs_listing:
                return set()
        elif known and known.row.run_began_at > row.run_began_at:
            return set()
        return {row.job_id} if self._take(row, now, keep_since=float("-inf")) else set()

    def _range(self, reading: JobsReading) -> list[int]:
        low = 0 if reading.after is None else bisect_right(self._keys, reading.after.int)
        if reading.up_to is None:
            return self._keys[low:]
        return self._keys[low : bisect_right(self._keys, reading.up_to.int)]

    def _take(self, row: JobRow, began_at: float, keep_since: float | None = None) -> bool:
        """Replace a job by its row. Return False if the memory is newer.

        `keep_since`: slices and spooled documents that were added earlier are replaced.
        """
        keep_since = began_at if keep_since is None else keep_since
        if self._ended.get(row.job_id, float("-inf")) >= began_at:
            return False
        run = self._runs.get(row.job_id)
        if run is None:
            run = RememberedRun(row, began_at, _NONE, _NONE, _NONE, _NONE)
            self._runs[row.job_id] = run
            insort(self._keys, row.job_id.int)
        elif run.read_at > began_at:
            return False
        self._replace_slices(run, self._merged(row.slices, run.slices, keep_since))
        run.spooled = self._merged(row.spooled, run.spooled, keep_since)
        run.taken = _since(run.taken, began_at)
        run.returned = _since(run.returned, began_at)
        if run.answered_at < began_at:
            run.has_more = None
            run.next_not_before = row.next_not_before
        run.row, run.read_at = row, began_at
        return True

    def _merged(
        self, read: Iterable[UUID], held: dict[UUID, float], since: float
    ) -> dict[UUID, float]:
        merged = dict(_since(held, since)) if read else _since(held, since)
        for token in read:
            if token not in merged and token not in self._ended:
                merged[token] = float("-inf")
        return merged or _NONE

    # Hints

    def begin(self, hint: SliceBegun, now: float) -> set[UUID]:
        """Record a slice that began."""
        run = self._runs.get(hint.job_id)
        if run is None or hint.token in self._ended or hint.token in run.slices:
            return set()
        self._replace_slices(run, run.slices | {hint.token: now})
        run.taken = run.taken | dict.fromkeys(hint.documents, now)
        run.returned = {d: at for d, at in run.returned.items() if d not in hint.documents}
        self.answer(run, hint.has_more, hint.next_not_before, now)
        return {hint.job_id}

    def answer(
        self, run: RememberedRun, has_more: bool, next_not_before: float | None, now: float
    ) -> None:
        """Record the answer of a claim about the documents of a job."""
        run.has_more, run.answered_at, run.next_not_before = has_more, now, next_not_before
        if not has_more:
            run.returned = _NONE

    def set_waits_for_budget(self, run: RememberedRun, *, waits: bool) -> None:
        """Record whether the last claim found the job over the budget of different cases."""
        if run.row.waits_for_budget is not waits:
            run.row = replace(run.row, waits_for_budget=waits)

    def end(self, hint: Ended, now: float) -> set[UUID]:
        """Record that a slice is recorded, or that a spooled document is stored."""
        self._ended[hint.token] = now
        self._unrecorded.discard(hint.token)
        run = self._runs.get(hint.job_id)
        if run is None:
            return set()
        if hint.token in run.slices:
            self._replace_slices(run, {t: at for t, at in run.slices.items() if t != hint.token})
        spooled = dict.fromkeys((d for d in hint.spooled if d not in self._ended), now)
        held = {d: at for d, at in run.spooled.items() if d != hint.token}
        run.spooled = held | spooled or _NONE
        if hint.returned:
            run.taken = {d: at for d, at in run.taken.items() if d not in hint.returned}
            run.returned = run.returned | dict.fromkeys(hint.returned, now)
        run.next_not_before = _earlier(run.next_not_before, hint.next_not_before)
        return {hint.job_id}

    def end_job(self, job_id: UUID, now: float) -> set[UUID]:
        """Forget a job because its run has ended."""
        self._ended[job_id] = now
        if job_id not in self._runs:
            return set()
        self._remove(job_id)
        return {job_id}

    def forget_ended(self, now: float) -> None:
        """Forget ends from before the beginning of every reading that is still under way."""
        old = now - REMEMBERED_S
        # In the order of time: a dictionary keeps the order of first entries.
        for token in [t for t, at in self._ended.items() if at < old]:
            del self._ended[token]

    def _remove(self, job_id: UUID) -> None:
        run = self._runs.pop(job_id)
        self._unrecorded.difference_update(run.slices)
        del self._keys[bisect_left(self._keys, job_id.int)]

    def _replace_slices(self, run: RememberedRun, slices: dict[UUID, float]) -> None:
        if run.slices or slices:
            self._unrecorded.difference_update(run.slices)
            self._unrecorded.update(slices)
            run.slices = slices


def _since(times: dict[UUID, float], began_at: float) -> dict[UUID, float]:
    if not times:
        return _NONE
    return {key: at for key, at in times.items() if at >= began_at} or _NONE


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
