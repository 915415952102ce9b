"""Scenarios of arriving jobs in which waiting must be shared fairly."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.priorities import Priority
from tests.simulation.simulated_rows import Arrival

COURTS = ("8.26", "8.19", "8.13", "5.02", "4.03", "8.21", "8.16", "8.05", "5.15", "8.24")
SLOW = COURTS[0]


@dataclass(frozen=True)
class Scenario:
    """`slow`: by court, the factor by which its answers are slower."""

    title: str
    arrivals: tuple[Arrival, ...]
    slow: dict[str, float] = field(default_factory=dict)


def scenarios(scale: float = 1.0) -> tuple[Scenario, ...]:
    """Return all scenarios, with the number of documents multiplied by `scale`."""
    return (
        ten_clients(scale),
        ten_courts(scale),
        large_and_small(scale),
        large_and_small(scale, small_client="grande"),
        priorities(scale),
        fifty_at_once(scale),
    )


def ten_clients(scale: float = 1.0) -> Scenario:
    """Return one client with a dozen large jobs, and then nine others with two each."""
    documents = _scaled(30, scale)
    first = [Arrival(0.1 * i, "client 0", COURTS[i % 10], 3 * documents) for i in range(12)]
    others = [
        Arrival(2 + 0.1 * i, f"client {1 + i % 9}", COURTS[i % 10], documents) for i in range(18)
    ]
    return Scenario("a dozen large jobs of one client, then two of each of nine", (*first, *others))


def ten_courts(scale: float = 1.0) -> Scenario:
    """Return one job in each of ten courts, of which one is ten times as slow."""
    documents = _scaled(60, scale)
    arrivals = tuple(Arrival(0.1 * i, "one", court, documents) for i, court in enumerate(COURTS))
    return Scenario("ten courts, the first ten times as slow", arrivals, {SLOW: 10.0})


def large_and_small(scale: float = 1.0, *, small_client: str = "small") -> Scenario:
    """Return a job of 2,000 documents, and fifty later ones of ten, one after another."""
    large = Arrival(0.0, "grande", COURTS[0], _scaled(2_000, scale))
    count = max(8, round(50 * scale))
    # Over the first half of the large job's duration.
    step_s = 100 * scale / count
    small = [Arrival(step_s * (1 + i), small_client, COURTS[i % 10], 10) for i in range(count)]
    who = "the same client" if small_client == large.client else "another client"
    return Scenario(f"2,000 documents, then fifty small jobs of {who}", (large, *small))


def priorities(scale: float = 1.0) -> Scenario:
    """Return three jobs of each priority of one client, and one of another client."""
    documents = _scaled(60, scale)
    arrivals = [
        Arrival(0.1 * i, "one", COURTS[i], documents, Priority(priority))
        for i, priority in enumerate(("BULK", "NORMAL", "HIGH") * 3)
    ]
    return Scenario("HIGH, NORMAL and BULK", (*arrivals, Arrival(1.0, "two", COURTS[9], documents)))


def fifty_at_once(scale: float = 1.0) -> Scenario:
    """Return jobs of many sizes that arrive in the same moment, half of them one client's."""
    clients = ("one", "two", "one", "three", "one", "four", "one", "five", "one", "six")
    arrivals = [
        Arrival(0.0, clients[i % 10], COURTS[i * 3 % 10], _scaled(10 + i * 7 % 21, scale))
        for i in range(50)
    ]
    return Scenario("fifty jobs at once", tuple(arrivals))


def _scaled(documents: int, scale: float) -> int:
    return max(1, round(documents * scale))
