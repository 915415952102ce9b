"""Refused scopes: how much of each may be proposed, until when, and the jobs that wait for it.

A scope is what a claim was refused for: the portal, a court, a client, a case, a job or a budget.
It is a `RefusedScope` alone, or a tuple that begins with one and names the court, client, case or
job.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from actors.hints.hints import ProposalRefused
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.window import Proposal
from storage.portal.outcomes import RefusedScope
from storage.scheduling.row_values import PortalReading

# Seconds after a refusal without a time: locked rows, or all slots taken.
FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0
# From this delay on, one proposal at a time tries for one slot more. Shorter delays are those of
# rows that other claims have locked for a moment.
TRIED_ALONE_S = 0.1
# The scopes of the budgets of cases, and those of one client.
OF_BUDGET = (RefusedScope.BUDGET, RefusedScope.COURT_BUDGET)
OF_CLIENT = (RefusedScope.CLIENT, RefusedScope.CLIENT_COURT)


@dataclass(slots=True)
class _Refusal:
    """The last refusal of a scope. Times are seconds.

    `most`: how many slots of the scope may be in use, as many as it had; None if nothing of it may
    begin before `until`. `has_named_end`: `until` is the time that the refusal named.
    """

    until: float
    delay_s: float
    refused_at: float
    has_named_end: bool
    most: int | None = None


class Backoff:
    """Exponential backoff by scope, for refusals that name no time.

    If a scope had slots when it was refused, it may keep that number: the limit that refused it may
    be lower than the scheduler's own, while other processes have other settings.
    """

    def __init__(self) -> None:
        self._refusals: dict[Hashable, _Refusal] = {}
        self._ends: list[float] = []
        # Jobs with the longest delay take turns, so that many cost no more than one does. A turn is
        # a multiple of that delay.
        self._turns: dict[Hashable, int] = {}
        self._taken_turns: set[int] = set()

    def refuse(
        self,
        scope: Hashable,
        now: float,
        *,
        until: float | None,
        proposed_at: float,
        in_use: int | None = None,
    ) -> float:
        """Block a scope, or its slots beyond those in use. Return the end of the block.

        If several proposals were outstanding together, only the first of their refusals lengthens
        the delay.

        Args:
            scope: what refused.
            now: seconds.
            until: the end that the refusal names, None without one.
            proposed_at: when the refused proposal was sent.
            in_use: slots that are taken or proposed without it; None: nothing may begin.
        """
        known = self._refusals.get(scope)
        if until is not None:
            until = max(until, known.until) if known else until
            return self._note(scope, _Refusal(until, known.delay_s if known else 0.0, now, True))
        if known and known.until > now:
            if known.has_named_end:
                return known.until
            if known.most is not None and in_use is not None:
                in_use = min(known.most, in_use)
        delay_s = FIRST_DELAY_S
        if known and known.delay_s:
            is_same_burst = proposed_at <= known.refused_at
            if is_same_burst and known.until > now:
                known.most = in_use
                return known.until
            delay_s = min(MAX_DELAY_S, (1 if is_same_burst else 2) * known.delay_s)
        until = now + delay_s
        if delay_s == MAX_DELAY_S and is_of_job(scope):
            until = self._turn_of(scope, now)
        until = max(until, known.until) if known else until
        return self._note(scope, _Refusal(until, delay_s, now, False, in_use))

    def _turn_of(self, scope: Hashable, now: float) -> float:
        """Return when a job has its turn: its own, while it waits, else the first that is free."""
        turn = self._turns.get(scope)
        if turn is None or turn * MAX_DELAY_S <= now:
            self._end_turn(scope)
            # The refusal comes a moment after the turn before.
            turn = math.ceil(now / MAX_DELAY_S + 0.5)
            while turn in self._taken_turns:
                turn += 1
            self._turns[scope] = turn
            self._taken_turns.add(turn)
        return turn * MAX_DELAY_S

    def _end_turn(self, scope: Hashable) -> None:
        if (turn := self._turns.pop(scope, None)) is not None:
            self._taken_turns.discard(turn)

    def _forget(self, scope: Hashable) -> None:
        self._refusals.pop(scope, None)
        self._end_turn(scope)

    def _note(self, scope: Hashable, refusal: _Refusal) -> float:
        self._refusals[scope] = refusal
        heapq.heappush(self._ends, refusal.until)
        return refusal.until

    def accept(self, scope: Hashable, now: float, in_use: int = 0) -> set[UUID]:
        """Record a request that began. Return the jobs that no longer wait for their turn.

        If the scope now uses more slots than at its refusal, its delay is halved. Only halved:
        another holder may have freed that slot, so one request does not prove a higher limit.

        Args:
            scope: a scope of the request.
            now: seconds.
            in_use: the taken slots of the scope, including the slot of this request.
        """
        known = self._refusals.get(scope)
        if known is None or (known.most is not None and in_use <= known.most):
            return set()
        if known.most == 0 and is_of_job(scope) and known.delay_s == MAX_DELAY_S:
            return self._end_turns()
        known.delay_s /= 2
        if known.most is None or known.delay_s <= TRIED_ALONE_S:
            known.delay_s = 0.0
            if known.until <= now:
                self._forget(scope)
        elif known.until <= now:
            known.most = in_use
            self._note(scope, replace(known, until=now + known.delay_s))
        return set()

    def _end_turns(self) -> set[UUID]:
        """End the waits of all jobs that take turns: a cause that they share may be gone."""
        waiting = {
            scope
            for scope, refusal in self._refusals.items()
            if refusal.delay_s == MAX_DELAY_S and refusal.most == 0 and is_of_job(scope)
        }
        for scope in waiting:
            self._forget(scope)
        return {scope[1] for scope in waiting if isinstance(scope, tuple)}

    def lift(self, scope: Hashable) -> None:
        """End the block of a scope: the awaited change has happened."""
        self._forget(scope)

    def lift_named_end(self, scope: Hashable, before: float) -> None:
        """End a block with a named end if its refusal came before this time.

        A reading that began later shows that the cause is gone.
        """
        known = self._refusals.get(scope)
        if known and known.has_named_end and known.refused_at < before:
            self._forget(scope)

    def blocked_until(self, scope: Hashable, now: float) -> float | None:
        """Return when the block of a scope ends; None if something of it may begin."""
        known = self._refusals.get(scope)
        return known.until if known and known.until > now and known.most is None else None

    def room(self, scope: Hashable, now: float, in_use: int) -> float:
        """Return how many more slots of a scope its last refusal lets be proposed.

        `in_use`: slots of the scope that are taken or proposed now.
        """
        known = self._refusals.get(scope)
        if known is None:
            return math.inf
        if known.until > now:
            return 0 if known.most is None else max(0, known.most - in_use)
        if known.most is None or known.delay_s <= TRIED_ALONE_S:
            return math.inf
        return max(0, known.most + 1 - in_use)

    def ends_at(self, scope: Hashable, now: float) -> float | None:
        """Return when the block of a scope or of its further slots ends; None without a block."""
        known = self._refusals.get(scope)
        return known.until if known and known.until > now else None

    def next_end(self, now: float) -> float | None:
        """Return when the next block ends; None if nothing is blocked."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return self._ends[0] if self._ends else None

    def forget(self, before: float) -> None:
        """Forget blocks that ended before this time."""
        for scope in [s for s, refusal in self._refusals.items() if refusal.until < before]:
            self._forget(scope)


def is_of_job(scope: Hashable) -> bool:
    """Return whether a scope is that of one job."""
    return isinstance(scope, tuple) and scope[0] is RefusedScope.JOB


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
    """The jobs that wait for a case or a client, by scope: they are checked when its block ends."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._of_case: dict[str, set[UUID]] = {}
        # By the scope of a client, if the brake stops this client only.
        self._of_client: dict[Hashable, set[UUID]] = {}

    def hold(self, scope: Hashable, job_id: UUID) -> None:
        """Record that a job waits because a brake stops only its client."""
        self._of_client.setdefault(scope, set()).add(job_id)

    def blocked_until(self, run: RememberedRun, now: float) -> float | None:
        """Return when the block of the job's client or case ends; None without a block."""
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
        """Return the jobs of clients that no brake stops any more, as the reading shows.

        Also forget the jobs of cases with an ended block. They sleep until that time anyway.
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
