"""Check the promises of a run, each as a line with its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.portal_load.portal_process import Counts
from tests.bench.traffic import journal_figures
from tests.bench.traffic.journal_figures import MeasuredJob
from tests.bench.traffic.slot_usage import Outage, Room, Use
from tests.chaos.checks import check_logs
from tests.sandbox.admission import Visit

GOAL = 0.95
# Seconds at the start of a pause for requests that were decided before all workers knew of it.
GRACE_S = 1.0
# A court with an open circuit is probed at growing intervals: at most as long again as its outage,
# and the first interval; plus this, for the request itself on a busy machine.
PROBE_SLACK_S = 5.0
# The allowed deviation of a client's turns from the mean; below this number of turns, chance
# dominates.
UNEVEN = 0.15
TURNS = 30


@dataclass(frozen=True)
class Check:
    """A promise, the measured value, and whether the promise is kept."""

    promise: str
    seen: str
    holds: bool


def of_jobs(
    jobs: Sequence[MeasuredJob], planned: dict[str, int], visits: Sequence[Visit]
) -> list[Check]:
    """Check the promises about jobs and documents in every part."""
    states = {job.number: job.state for job in jobs if job.state != "COMPLETED"}
    whole = all(len(job.attempts) == planned[job.number] for job in jobs)
    wrong = journal_figures.not_once(visits, jobs)
    burnt = journal_figures.attempts_burnt(visits, jobs)
    documents = sum(planned[job.number] for job in jobs)
    return [
        Check("every job ends COMPLETED", f"{len(jobs) - len(states)} of {len(jobs)}", not states),
        Check(
            "each document is given exactly once",
            f"{documents - len(wrong)} of {documents}",
            whole and not wrong,
        ),
        Check("no attempt is burnt by pauses", str(burnt.by_pauses), not burnt.by_pauses),
        Check("nor without a reason", str(burnt.unexplained), not burnt.unexplained),
    ]


def of_limits(counts: Counts, room: Room) -> list[Check]:
    """Check that no limit is exceeded, as the portal counts."""
    worst = max(counts.peaks.values(), default=0)
    return [
        Check(f"at most {room.at_once} at once", str(counts.peak), counts.peak <= room.at_once),
        Check(f"at most {room.per_court} per court", str(worst), worst <= room.per_court),
        Check("no 429", str(counts.refused), not counts.refused),
    ]


def of_use(use: Use, away: Sequence[Outage], expected: int, *, probe_base_s: float) -> list[Check]:
    """Check the throughput, and that circuit breakers close without intervention."""
    late = [o for o in away if o.back_s > _allowed_s(o, probe_base_s)]
    longest = max((o.back_s for o in away), default=0.0)
    return [
        Check(
            f"at least {GOAL:.0%} of the possible throughput", f"{use.ratio:.1%}", use.ratio >= GOAL
        ),
        Check(
            "courts are found to be back by their probes",
            f"{len(away)} of {expected}, after {longest:.1f} s at most",
            len(away) == expected and not late,
        ),
    ]


def of_turns(use: Use) -> list[Check]:
    """Check that clients have equal turns while all of them wait, however many jobs they have."""
    mean = sum(use.turns.values()) / len(use.turns)
    if mean < TURNS:
        return []
    worst = max(abs(count - mean) / mean for count in use.turns.values())
    seen = ", ".join(f"{client} {count}" for client, count in use.turns.items())
    return [Check("clients that wait have equal turns", seen, worst <= UNEVEN)]


def _allowed_s(outage: Outage, probe_base_s: float) -> float:
    return outage.burst_end - outage.begin + 2 * probe_base_s + PROBE_SLACK_S


def of_pauses(visits: Sequence[Visit]) -> list[Check]:
    """Check that the portal requested pauses and that Autos kept them."""
    kept = journal_figures.pauses(visits, grace_s=GRACE_S)
    return [
        Check("429s came, for the limit was below ours", str(kept.requested), kept.requested > 0),
        Check("no request begins in a pause", str(kept.broken), not kept.broken),
    ]


def of_logs(lines: Sequence[str]) -> list[Check]:
    """Check that no process logged a bug."""
    found = list(check_logs.check(lines))
    return [Check("no traceback in the logs", "; ".join(found) or "none", not found)]
