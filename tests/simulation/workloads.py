"""Random workloads for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st

from storage.portal.slots import Limits
from storage.priorities import Priority
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import NO_FAULTS, SchedulerSimulation, SimulatedFaults

# The same examples in every run, so that no run fails by chance.
FEW = settings(derandomize=True, max_examples=20, deadline=None, database=None)

COURTS = ("8.19", "8.26")
# Many requests take twice as long as the mean or half of it.
UNEVEN = (1.0, 0.5, 2.0, 0.5, 1.0, 0.25, 1.75)


@dataclass(frozen=True)
class Workload:
    """Jobs, limits, and the mean time of a request of each court."""

    arrivals: tuple[Arrival, ...]
    limits: Limits
    request_s: dict[str, float]
    seed: int

    def simulation(
        self, faults: SimulatedFaults = NO_FAULTS, threads: int = 64
    ) -> SchedulerSimulation:
        """Return a simulation that has not begun."""
        simulation = SchedulerSimulation(
            self.limits, seed=self.seed, threads=threads, faults=faults
        )
        for court, request_s in self.request_s.items():
            simulation.set_court(court, request_s)
        for arrival in self.arrivals:
            simulation.arrive(arrival)
        return simulation


@st.composite
def workloads(
    draw: st.DrawFn, *, documents: int = 60, jobs: int = 6, is_listed: bool = True
) -> Workload:
    """Draw at most `jobs` jobs with at most `documents` documents each."""
    limits = Limits(
        at_once=draw(st.integers(1, 8)),
        per_court=draw(st.integers(1, 5)),
        lanes=draw(st.integers(1, 6)),
    )
    times = st.sampled_from([0.1, 0.2, 0.5])
    request_s = {court: draw(times) for court in COURTS}
    spread = draw(st.sampled_from([(1.0,), UNEVEN]))
    arrivals = []
    for _ in range(draw(st.integers(2, jobs))):
        court = draw(st.sampled_from(COURTS))
        arrivals.append(
            Arrival(
                at_s=draw(st.sampled_from([0.0, 0.0, 1.3, 7.0])),
                client=draw(st.sampled_from("abc")),
                court=court,
                documents=draw(st.integers(1, documents)),
                priority=draw(st.sampled_from(Priority)),
                request_s=tuple(request_s[court] * part for part in spread),
                is_listed=is_listed or draw(st.booleans()),
            )
        )
    return Workload(tuple(arrivals), limits, request_s, draw(st.integers(0, 99)))
