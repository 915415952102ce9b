"""The taken slots, and the charges of the slices that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from storage.scheduling.row_values import SlotRow

# A reading that began before a slot was freed still shows the slot. No reading takes this many
# seconds, so freed slots are remembered that long. Charges wait as long for the used time.
REMEMBERED_S = 15.0


@dataclass(slots=True)
class Charge:
    """The slot-seconds that a job was charged for a slice. `is_bulk`: the job's class at the time.

    `seen_at`: seconds, when the slot was last seen as taken.
    """

    job_id: UUID
    is_bulk: bool
    slot_s: float
    seen_at: float


class SlotTable:
    """Taken slots by the token of their slice. A reading replaces them, except newer hints."""

    def __init__(self) -> None:
        self._rows: dict[UUID, SlotRow] = {}
        self._hinted_at: dict[UUID, float] = {}
        self._freed: dict[UUID, float] = {}
        self._by_court: dict[str, set[UUID]] = {}
        self._charges: dict[UUID, Charge] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, token: UUID) -> bool:
        return token in self._rows

    def rows(self) -> Iterable[SlotRow]:
        """Return the taken slots."""
        return self._rows.values()

    def of_court(self, court: str) -> int:
        """Return how many slots of a court are taken."""
        return len(self._by_court.get(court, ()))

    def merge(self, rows: Iterable[SlotRow], began_at: float) -> list[SlotRow]:
        """Take a reading. Return the slots with slices that were not charged yet."""
        merged = {row.token: row for row in rows if row.token not in self._freed}
        for token, at in self._hinted_at.items():
            if at >= began_at and token not in self._freed:
                merged.setdefault(token, self._rows[token])
        self._hinted_at = {t: at for t, at in self._hinted_at.items() if at >= began_at}
        self._rows = merged
        self._by_court = {}
        for row in merged.values():
            self._by_court.setdefault(row.court, set()).add(row.token)
        return [row for row in merged.values() if row.token not in self._charges]

    def take(self, row: SlotRow, now: float) -> None:
        """Record, from a hint, that a slice took a slot."""
        if row.token not in self._freed:
            self._rows[row.token] = row
            self._hinted_at[row.token] = now
            self._by_court.setdefault(row.court, set()).add(row.token)

    def free(self, token: UUID, now: float) -> None:
        """Record, from a hint, that the slot of a slice is free."""
        self._freed[token] = now
        self._hinted_at.pop(token, None)
        row = self._rows.pop(token, None)
        if row is not None:
            self._by_court[row.court].discard(token)

    def is_charged(self, token: UUID) -> bool:
        """Return whether a slice was charged, and its use is not reported yet."""
        return token in self._charges

    def note_charge(self, token: UUID, charge: Charge) -> None:
        """Remember a slice's charge until its use is reported."""
        self._charges[token] = charge

    def settle(self, token: UUID) -> Charge | None:
        """Return a slice's charge, once."""
        return self._charges.pop(token, None)

    def forget(self, now: float) -> None:
        """Forget freed slots and unreported charges after REMEMBERED_S."""
        for token in self._rows:
            if token in self._charges:
                self._charges[token].seen_at = now
        old = now - REMEMBERED_S
        self._freed = {t: at for t, at in self._freed.items() if at >= old}
        self._charges = {t: c for t, c in self._charges.items() if c.seen_at >= old}
