"""Refused scopes: the time before which nothing of each is proposed, and the jobs that wait."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from uuid import UUID

from actors.hints.hints import ProposalRefused
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.window import Proposal
from storage.portal.outcomes import RefusedScope
from storage.scheduling.row_values import PortalReading

# Seconds after a refusal without a time: locked rows, or all slots taken.
FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0
# From this delay on, one proposal at a time tries a scope. Shorter delays are those of rows that
# other claims have locked for a moment.
TRIED_ALONE_S = 0.1
# The scopes of the budgets of cases, and those of one client.
OF_BUDGET = (RefusedScope.BUDGET, RefusedScope.COURT_BUDGET)
OF_CLIENT = (RefusedScope.CLIENT, RefusedScope.CLIENT_COURT)


@dataclass(slots=True)
class _Refusal:
    until: float
    delay_s: float
    refused_at: float
    has_named_end: bool


class Backoff:
    """Exponential backoff by scope, for refusals that name no time."""

    def __init__(self) -> None:
        self._refusals: dict[Hashable, _Refusal] = {}
        self._ends: list[float] = []

    def refuse(
        self, scope: Hashable, now: float, *, until: float | None, proposed_at: float
    ) -> float:
        """Block a scope. Return the time before which nothing of it is proposed.

        If several proposals were outstanding together, only the first refusal lengthens the delay.
        """
        known = self._refusals.get(scope)
        has_named_end = until is not None
        if until is not None:
            delay_s = known.delay_s if known else 0.0
        elif known is None or not known.delay_s:
            delay_s, until = FIRST_DELAY_S, now + FIRST_DELAY_S
        else:
            is_same_burst = proposed_at < known.refused_at
            if is_same_burst and known.until > now:
                return known.until
            delay_s = min(MAX_DELAY_S, (1 if is_same_burst else 2) * known.delay_s)
            until = now + delay_s
        if known:
            until = max(until, known.until)
        self._refusals[scope] = _Refusal(until, delay_s, now, has_named_end)
        heapq.heappush(self._ends, until)
        return until

    def accept(self, scope: Hashable, now: float) -> None:
        """Reset the delay: a request of this scope began."""
        known = self._refusals.get(scope)
        if known:
            known.delay_s = 0.0
            if known.until <= now:
                del self._refusals[scope]

    def lift(self, scope: Hashable) -> None:
        """End the block of a scope: the awaited change has happened."""
        self._refusals.pop(scope, None)

    def lift_named_end(self, scope: Hashable, before: float) -> None:
        """End a block if the refusal named its end before this time: a newer reading exists."""
        known = self._refusals.get(scope)
        if known and known.has_named_end and known.refused_at < before:
            del self._refusals[scope]

    def blocked_until(self, scope: Hashable, now: float) -> float | None:
        """Return when the block of a scope ends; None if it is not blocked."""
        known = self._refusals.get(scope)
        return known.until if known and known.until > now else None

    def is_tried_alone(self, scope: Hashable) -> bool:
        """Return whether a scope was refused several times in a row, and nothing began since."""
        known = self._refusals.get(scope)
        return known is not None and known.delay_s > TRIED_ALONE_S

    def next_end(self, now: float) -> float | None:
        """Return when the next block ends; None if nothing is blocked."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return self._ends[0] if self._ends else None

    def forget(self, before: float) -> None:
        """Forget blocks that ended before this time."""
        for scope in [s for s, refusal in self._refusals.items() if refusal.until < before]:
            del self._refusals[scope]


def client_scopes(run: RememberedRun) -> tuple[Hashable, Hashable]:
    """Return the scopes of the job's client, in the order of OF_CLIENT."""
    client, court = run.row.client, run.row.court
    return (RefusedScope.CLIENT, client), (RefusedScope.CLIENT_COURT, client, court)


def slice_scopes(court: str, run: RememberedRun | None) -> Iterator[Hashable]:
    """Return every scope of a slice that began."""
    yield RefusedScope.PORTAL
    yield (RefusedScope.COURT, court)
    if run is not None:
        yield (RefusedScope.JOB, run.row.job_id)
        yield (RefusedScope.CASE, run.row.case)


def refused_scope(
    hint: ProposalRefused, run: RememberedRun | None, proposal: Proposal | None
) -> Hashable | None:
    """Return the refused scope; None if its court or case is unknown."""
    if hint.scope is RefusedScope.PORTAL:
        return RefusedScope.PORTAL
    if hint.scope is RefusedScope.JOB:
        return (RefusedScope.JOB, hint.job_id)
    if hint.scope is RefusedScope.CASE:
        return (RefusedScope.CASE, run.row.case) if run else None
    if hint.scope is RefusedScope.BUDGET:
        return RefusedScope.BUDGET
    if hint.scope in OF_CLIENT:
        return client_scopes(run)[OF_CLIENT.index(hint.scope)] if run else None
    court = run.row.court if run else proposal.court if proposal else None
    scope = hint.scope if hint.scope in OF_BUDGET else RefusedScope.COURT
    return (scope, court) if court is not None else None


class BlockedJobs:
    """By scope, the jobs to look at again when it is refused no more."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._of_case: dict[str, set[UUID]] = {}
        # By the scope of a client that was refused alone.
        self._of_client: dict[Hashable, set[UUID]] = {}

    def hold(self, scope: Hashable, job_id: UUID) -> None:
        """Let a job wait for its client, which was refused alone."""
        self._of_client.setdefault(scope, set()).add(job_id)

    def blocked_until(self, run: RememberedRun, now: float) -> float | None:
        """Return when the job may go on, None if neither client nor case is refused."""
        for scope in client_scopes(run) if self._of_client else ():
            if scope in self._of_client:
                until = self._backoff.blocked_until(scope, now)
                if until is not None:
                    self._of_client[scope].add(run.row.job_id)
                    return until
        if not run.row.needs_listing:
            return None
        until = self._backoff.blocked_until((RefusedScope.CASE, run.row.case), now)
        if until is not None:
            self._of_case.setdefault(run.row.case, set()).add(run.row.job_id)
        return until

    def release_case(self, case: str) -> set[UUID]:
        """Lift the refusal of a case. Return the jobs that waited for it."""
        self._backoff.lift((RefusedScope.CASE, case))
        return self._of_case.pop(case, set())

    def release(self, reading: PortalReading, now: float) -> set[UUID]:
        """Return the jobs of clients that are not stopped alone any more.

        Forget the jobs of cases that are refused no more: the time wakes them.
        """
        self._of_case = {
            case: jobs
            for case, jobs in self._of_case.items()
            if self._backoff.blocked_until((RefusedScope.CASE, case), now) is not None
        }
        held: set[Hashable] = {(RefusedScope.CLIENT, name) for name in reading.portal.held_clients}
        for row in reading.courts.values():
            held.add((RefusedScope.CLIENT_COURT, row.held_client, row.court))
        released: set[UUID] = set()
        for scope in self._of_client.keys() - held:
            self._backoff.lift_named_end(scope, reading.began_at)
            if self._backoff.blocked_until(scope, now) is None:
                released |= self._of_client.pop(scope)
        return released
