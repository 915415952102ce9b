"""Whether a job may be proposed now, apart from the limits of its court and of the portal."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from actors.scheduler.policy.fairness.flows import Claimant, FlowGate
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.window import Proposal
from storage.priorities import WEIGHTS, Priority


class Eligibility(NamedTuple):
    """What a job enters the fair queue with, and when to check it again.

    `claimant` is None if the job has no request under way and may begin none. `again_at` is None if
    only a hint or a reading can change the answer.
    """

    claimant: Claimant | None = None
    again_at: float | None = None


def eligibility(
    run: RememberedRun,
    proposals: Collection[Proposal],
    *,
    lanes: int,
    blocked_until: float | None,
    now: float,
) -> Eligibility:
    """Return what a job may request.

    Args:
        run: the job.
        proposals: the outstanding proposals of the job.
        lanes: LANES_PER_JOB.
        blocked_until: seconds; nothing of the job may begin earlier. None without a refusal.
        now: seconds.
    """
    under_way = len(run.slices) + len(proposals)
    if run.row.needs_listing:
        cap, more, not_before = 1, 1 - under_way, _listing_not_before(run)
        if run.row.is_listed_by_another:
            more = 0
    else:
        more = run.ready(now) - sum(proposal.requests for proposal in proposals)
        cap = min(lanes - len(run.spooled), under_way + max(0, more))
        not_before = run.next_not_before if more <= 0 else None
    starts_at = max(blocked_until or now, not_before or now)
    may_begin = more > 0 and under_way < cap and starts_at <= now
    claimant = None
    if cap > 0 and (may_begin or under_way):
        claimant = _claimant(run, cap, may_begin=may_begin)
    return Eligibility(claimant, starts_at if starts_at > now else None)


def _listing_not_before(run: RememberedRun) -> float | None:
    times = (run.row.listing_not_before, run.next_not_before)
    return max((at for at in times if at is not None), default=None)


def _claimant(run: RememberedRun, cap: int, *, may_begin: bool) -> Claimant:
    row = run.row
    return Claimant(
        client=row.client,
        weight=WEIGHTS[row.priority],
        is_bulk=row.priority is Priority.BULK,
        gate=FlowGate(row.court, row.needs_listing),
        cap=cap,
        may_begin=may_begin,
    )
