"""The slot-seconds that a request is expected to take, by court."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storage.estimates.request_times import UNMEASURED_S, Measured, expected_s
from storage.scheduling.row_values import CourtRow, SlotRow


class Estimator:
    """Expected times of requests, computed again from each reading."""

    def __init__(self) -> None:
        self._expected: dict[str, float] = {}
        self._usual_s = UNMEASURED_S

    def learn(self, courts: Mapping[str, CourtRow], slots: Iterable[SlotRow], now: float) -> None:
        """Compute the expected times from a reading: moving averages and requests under way."""
        under_way_s = dict.fromkeys(courts, 0.0)
        for slot in slots:
            if slot.court in under_way_s:
                under_way_s[slot.court] += max(0.0, now - slot.taken_at)
        measured = {
            court: Measured(row.request_s, row.measured_requests, under_way_s[court])
            for court, row in courts.items()
        }
        # A court without a row has the usual expected time.
        self._expected = expected_s({"": Measured(0.0, 0)} | measured)
        self._usual_s = self._expected.pop("", UNMEASURED_S)

    def request_s(self, court: str) -> float:
        """Return the seconds that a request of the court is expected to take."""
        return self._expected.get(court, self._usual_s)

    @property
    def usual_s(self) -> float:
        """Return the expected seconds of a request of a court without any measurement."""
        return self._usual_s

    def expected(self) -> Mapping[str, float]:
        """Return the expected seconds by court, for the courts that were read."""
        return self._expected
