"""Format the results of a run as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.callers.standstills import quantile
from tests.chaos.chaos_run import RunOutcome

MOST_TOLD = 40


def table(outcome: RunOutcome) -> Iterator[str]:
    """Return the lines for one seed."""
    verdict = f"{len(outcome.problems)} PROBLEMS" if outcome.problems else "all checks passed"
    yield f"seed {outcome.seed}: {verdict}"
    rows = {
        "jobs": f"{outcome.acknowledged} acknowledged; {_counts(outcome.job_ends)}",
        "documents": f"{outcome.document_ends.total()}; {_counts(outcome.document_ends)}",
        "portal": f"{outcome.calls} file requests for {outcome.attempts} counted attempts",
        "webhooks": f"{outcome.deliveries} deliveries",
        "calls": _counts(Counter(status for _, status in outcome.statuses.elements())),
        "faults": f"{len(outcome.faults)}; {_counts(Counter(f.kind for f in outcome.faults))}",
        "time": f"{outcome.took_s:.0f} s in all, settled {outcome.settled_s:.1f} s after the last",
    }
    for name, text in rows.items():
        yield f"  {name:10} {text}"
    yield from recoveries([outcome])
    for problem in outcome.problems[:MOST_TOLD]:
        yield f"  PROBLEM    {problem}"
    if outcome.problems:
        yield f"  logs and data: {outcome.folder}"


def recoveries(outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """Return the seconds from the end of a fault to the next progress of each running job."""
    by_kind: dict[str, list[float]] = {}
    for outcome in outcomes:
        for kind, found in outcome.standstills_s.items():
            by_kind.setdefault(kind.partition("-")[0], []).extend(found)
    by_kind["any"] = [seconds for found in by_kind.values() for seconds in found]
    yield f"  {'until progress after':22} {'jobs':>6} {'median':>8} {'p99':>8} {'most':>8}"
    for kind, found in by_kind.items():
        times = "".join(f"{quantile(found, part):8.2f}s" for part in (0.5, 0.99, 1.0))
        yield f"  {kind:22} {len(found):6} {times}"


def summary(outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """Return the lines for several seeds together."""
    jobs = sum(outcome.acknowledged for outcome in outcomes)
    documents = sum(outcome.document_ends.total() for outcome in outcomes)
    faults = sum(len(outcome.faults) for outcome in outcomes)
    took_s = sum(outcome.took_s for outcome in outcomes)
    yield (
        f"{len(outcomes)} seeds, {jobs} jobs, {documents} documents, {faults} faults"
        f" in {took_s / 60:.1f} minutes"
    )
    yield from recoveries(outcomes)
    failed = [outcome.seed for outcome in outcomes if outcome.problems]
    if failed:
        yield f"FAILED seeds: {', '.join(map(str, failed))}"
    else:
        yield "all checks passed"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
