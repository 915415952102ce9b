"""Whether a job may be proposed now, apart from what its court and the portal allow."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from actors.scheduler.run_state import Run
from actors.scheduler.window import Gate, Proposal


class Eligibility(NamedTuple):
    """The gate that a job waits at, or the time when it is worth another look.

    Both None: nothing changes before a hint or a reading.
    """

    gate: Gate | None = None
    again_at: float | None = None


NOT_NOW = Eligibility()


def eligibility(
    run: Run, proposals: Collection[Proposal], *, lanes: int, now: float
) -> Eligibility:
    """Return what a job may do. `proposals`: its outstanding ones; `lanes`: LANES_PER_JOB."""
    if run.row.needs_listing:
        return _of_listing(run, proposals, now)
    if run.lanes_taken + len(proposals) >= lanes:
        return NOT_NOW
    if run.ready(now) > sum(proposal.requests for proposal in proposals):
        return Eligibility(Gate(run.row.court, is_listing=False))
    not_before = run.next_not_before
    return Eligibility(again_at=not_before if not_before and not_before > now else None)


def _of_listing(run: Run, proposals: Collection[Proposal], now: float) -> Eligibility:
    if proposals or run.slices or run.row.is_listed_by_another:
        return NOT_NOW
    not_before = max(run.row.listing_not_before or now, run.next_not_before or now)
    if not_before > now:
        return Eligibility(again_at=not_before)
    return Eligibility(Gate(run.row.court, is_listing=True))
