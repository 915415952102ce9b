"""Determine which faults happened while a job ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.faults.fault_plan import PlannedFault

# A fault has effects after its end: a lease must expire, and the scheduler must detect that.
FOUND_OUT_S = 3.0
BEFORE_S = 1.0


@dataclass(frozen=True)
class Windows:
    """Start and end of each fault, in seconds since 1970, by its number."""

    faults: Sequence[PlannedFault]
    broken: Mapping[int, float]
    mended: Mapping[int, float]
    lease_s: int = 5

    def during(self, job: pb.Job) -> list[PlannedFault]:
        """Return the faults that overlap the job's run, their aftermath included."""
        begin = job.create_time.ToNanoseconds() / 1e9
        end = job.end_time.ToNanoseconds() / 1e9
        return [
            fault
            for fault in self.faults
            if fault.number in self.broken
            and self.broken[fault.number] - BEFORE_S <= end
            and self.mended.get(fault.number, end) + self.lease_s + FOUND_OUT_S >= begin
        ]
