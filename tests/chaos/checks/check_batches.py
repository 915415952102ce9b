"""Check that each batch has the jobs that were acknowledged, and counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.acknowledgements import Acknowledgements
from tests.chaos.checks.snapshot import Snapshot


def check(ledger: Acknowledgements, seen: Snapshot) -> Iterator[str]:
    """Return a line for each problem with batches."""
    made: dict[str, set[str]] = {}
    for job in seen.jobs.values():
        if job.batch_id:
            made.setdefault(job.batch_id, set()).add(job.job_id)
    if made != ledger.batches:
        yield f"batches {sorted(made)} have other jobs than the acknowledged {ledger.batches}"
    for batch_id, batch in seen.batches.items():
        states = Counter(seen.jobs[job_id].state for job_id in made.get(batch_id, ()))
        counted = {each.state: each.count for each in batch.jobs}
        if counted != states or batch.refused:
            yield f"batch {batch_id} counts {counted}, its jobs are {dict(states)}"
