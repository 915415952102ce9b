"""The memory of the leading scheduler, fed by readings and hints. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from uuid import UUID

from actors.hints.hints import (
    Ended,
    Hint,
    JobEnded,
    JobWanted,
    ProposalRefused,
    SliceBegun,
    SlotFreed,
)
from actors.scheduler.policy.backoff import (
    OF_BUDGET,
    OF_CLIENT,
    Backoff,
    BlockedJobs,
    refused_scope,
    slice_scopes,
)
from actors.scheduler.policy.eligibility import Eligibility, eligibility
from actors.scheduler.policy.estimator import Estimator
from actors.scheduler.policy.fairness.budget_queue import BudgetClaimant, BudgetQueue
from actors.scheduler.policy.fairness.fair_queue import FairQueue
from actors.scheduler.policy.fairness.tag_heap import TagHeap
from actors.scheduler.policy.reach import Reach
from actors.scheduler.policy.run_state import RememberedRun, RunState
from actors.scheduler.policy.slot_table import Charge, SlotTable
from actors.scheduler.policy.window import Proposal, Window
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import (
    CourtRow,
    JobsReading,
    PortalReading,
    PortalRow,
    SlotRow,
    WorkerRow,
)

# Seconds for which ended blocks are remembered, for the length of the next delay.
FORGET_BLOCKS_S = 10.0
# A used up budget is tried again after so many seconds at most: it may have been raised.
BUDGET_RETRY_S = 60.0


class SchedulerState:
    """The state from which `plan` decides. A new leader begins with an empty one.

    Nothing is proposed before the first PortalReading: until then there are no workers.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.runs = RunState()
        self.slots = SlotTable()
        self.window = Window()
        self.reach = Reach()
        self.estimator = Estimator()
        self.backoff = Backoff()
        self.portal = PortalRow(0)
        self.courts: dict[str, CourtRow] = {}
        self.workers: tuple[WorkerRow, ...] = ()
        self.queue = FairQueue()
        # Jobs that wait for the budget of different cases, and for nothing else.
        self.budget = BudgetQueue()
        # Jobs that wait for a time.
        self.sleeping: TagHeap[UUID] = TagHeap()
        self.blocked = BlockedJobs(self.backoff)

    # Readings

    def read_portal(self, reading: PortalReading, now: float) -> None:
        """Take the reading of portal, courts, slots and workers, which comes every second."""
        self.portal, self.workers = reading.portal, reading.workers
        self.courts = dict(reading.courts)
        for row in self.slots.merge(reading.slots, reading.began_at):
            self._charge_slice(row.token, row.job_id, row.court, row.requests, now)
        self.estimator.learn(self.courts, self.slots.rows(), now)
        self.slots.forget(now)
        self.runs.forget_ended(now)
        self.backoff.forget(now - FORGET_BLOCKS_S)
        if self.portal.closed_until is None:
            # A pause or a login block ended before the time that a refusal named.
            self.backoff.lift_named_end(RefusedScope.PORTAL, reading.began_at)
        for court in self.courts.values():
            if court.next_probe_at is None:
                # A good probe closed the breaker before the time that a refusal named.
                self.backoff.lift_named_end((RefusedScope.COURT, court.court), reading.began_at)
        self.refresh(self.blocked.release(reading, now), now)

    def read_jobs(self, reading: JobsReading, now: float) -> None:
        """Take a portion of the jobs, or the jobs with a run that began recently."""
        self.refresh(self.runs.merge(reading), now)

    # Hints

    def receive(self, hint: Hint, now: float) -> None:
        """Change the memory as a hint shows."""
        match hint:
            case JobWanted():
                self._want(hint, now)
            case JobEnded():
                self.backoff.lift((RefusedScope.JOB, hint.job_id))
                self.refresh(self.runs.end_job(hint.job_id, now), now)
            case SliceBegun():
                self._begin(hint, now)
            case ProposalRefused():
                self._refuse(hint, now)
            case SlotFreed():
                self._free(hint.token, hint.used_s, now)
            case Ended():
                self._free(hint.token, hint.used_s, now)
                self.refresh(self.runs.end(hint, now), now)

    def _want(self, hint: JobWanted, now: float) -> None:
        touched = self.runs.want(hint.job, now)
        # The reason of the refusal may be gone: the case is listed, or the job that listed it has
        # ended.
        self.refresh(touched | self.blocked.release_case(hint.job.case), now)

    def _begin(self, hint: SliceBegun, now: float) -> None:
        proposal = self._answered(hint.proposal_id)
        run = self.runs.get(hint.job_id)
        court = run.row.court if run else proposal.court if proposal else None
        if court is not None and not self.runs.has_ended(hint.token):
            row = SlotRow(hint.token, hint.job_id, court, now, max(1, len(hint.documents)))
            self.slots.take(row, now)
            if hint.token in self.slots:
                self._charge_slice(hint.token, hint.job_id, court, row.requests, now)
            self._probe_began(court)
            if run is not None and run.row.waits_for_budget:
                self.runs.set_waits_for_budget(run, waits=False)
                self.budget.charge(run.row.client)
        if hint.next_request_at is not None:
            at = max(self.portal.next_request_at, hint.next_request_at)
            self.portal = self.portal._replace(next_request_at=at)
        touched = self.runs.begin(hint, now) | {hint.job_id}
        for scope in slice_scopes(court, run) if court is not None else ():
            touched |= self.backoff.accept(scope, now, self._taken(scope))
        self.refresh(touched, now)

    def _refuse(self, hint: ProposalRefused, now: float) -> None:
        proposal = self._answered(hint.proposal_id)
        run = self.runs.get(hint.job_id)
        if run is not None and hint.is_empty:
            self.runs.answer(run, has_more=False, next_not_before=hint.until, now=now)
        elif scope := refused_scope(hint, run, proposal):
            until = hint.until
            if hint.scope in OF_BUDGET:
                until = min(until or now, now + BUDGET_RETRY_S)
                if run is not None:
                    self.runs.set_waits_for_budget(run, waits=True)
            self.backoff.refuse(
                scope,
                now,
                until=until,
                proposed_at=proposal.sent_at if proposal else now,
                in_use=self._in_use(scope),
            )
            if hint.scope in OF_CLIENT:
                self.blocked.hold(scope, hint.job_id)
        self.refresh({hint.job_id}, now)

    def _free(self, token: UUID, used_s: float | None, now: float) -> None:
        self.slots.free(token, now)
        if used_s is not None and (charge := self.slots.settle(token)):
            # The hint of a job's end comes before the hint of its last slice's end. So the job may
            # be unknown here, and the charge carries its class.
            used_more_s = used_s - charge.slot_s
            self.queue.charge(charge.job_id, used_more_s, was_bulk=charge.is_bulk)

    # Slots of a scope

    def room(self, scope: Hashable, now: float) -> int:
        """Return how many more slots of a scope its last refusal lets be proposed."""
        room = self.backoff.room(scope, now, self._in_use(scope) or 0)
        return int(min(room, self.limits.at_once))

    def _in_use(self, scope: Hashable) -> int | None:
        """Return the slots of a scope that are taken or proposed; None if it has no slots."""
        taken = self._taken(scope)
        match scope:
            case RefusedScope.PORTAL:
                proposed = len(self.window)
            case (RefusedScope.COURT, str(court)):
                proposed = self.window.of_court(court)
            case (RefusedScope.JOB, UUID() as job_id):
                proposed = len(self.window.of_job(job_id))
            case _:
                return None
        return taken + proposed

    def _taken(self, scope: Hashable) -> int:
        match scope:
            case RefusedScope.PORTAL:
                return len(self.slots)
            case (RefusedScope.COURT, str(court)):
                return self.slots.of_court(court)
            case (RefusedScope.JOB, UUID() as job_id):
                run = self.runs.get(job_id)
                return run.lanes_taken if run else 0
        return 0

    # Charges

    def _charge_slice(
        self, token: UUID, job_id: UUID, court: str, requests: int, now: float
    ) -> None:
        """Charge a slice that began, once."""
        run = self.runs.get(job_id)
        if run is None or self.slots.is_charged(token):
            return
        slot_s = requests * self.estimator.request_s(court)
        charge = Charge(job_id, run.row.priority is Priority.BULK, slot_s, now)
        self.slots.note_charge(token, charge)
        self.queue.charge(job_id, slot_s)

    def _answered(self, proposal_id: UUID | None) -> Proposal | None:
        """Remove an answered proposal and return it; None if it had expired before."""
        if proposal_id is not None:
            self.reach.answered()
        return self._drop(proposal_id)

    def _drop(self, proposal_id: UUID | None) -> Proposal | None:
        """Remove a proposal from the window and give its charge back.

        Return the proposal; None if it was not outstanding.
        """
        proposal = self.window.take(proposal_id)
        if proposal is not None:
            self.queue.charge(proposal.job_id, -proposal.charge_s)
        return proposal

    # Time

    def drop_expired(self, now: float) -> None:
        """Drop the proposals that are too old to be claimed."""
        for proposal_id in self.window.expired(now):
            proposal = self._drop(proposal_id)
            if proposal is not None:
                self.reach.expired(now)
                self.refresh({proposal.job_id}, now)

    def wake(self, now: float) -> None:
        """Check the jobs again that waited for a time, if it has come."""
        while (first := self.sleeping.first()) is not None and first[0] <= now:
            self.refresh({first[1]}, now)

    # Which jobs may be chosen

    def refresh(self, job_ids: Iterable[UUID], now: float) -> None:
        """Put each of these jobs into the fair queue or take it out, by its current values."""
        for job_id in job_ids:
            self.sleeping.remove(job_id)
            run = self.runs.get(job_id)
            if run is None:
                self.queue.remove(job_id)
                self.budget.remove(job_id)
                continue
            current = self._in_turn(run, self.eligibility(run, now))
            if current.claimant is not None:
                self.queue.put(job_id, current.claimant)
            else:
                self.queue.suspend(job_id)
            if current.again_at is not None:
                self.sleeping.put(job_id, current.again_at)

    def eligibility(self, run: RememberedRun, now: float) -> Eligibility:
        """Return what a job may request, apart from the limits of its court and of the portal."""
        scope = (RefusedScope.JOB, run.row.job_id)
        proposals = self.window.of_job(run.row.job_id)
        in_use = run.lanes_taken + len(proposals)
        room, ends_at = self.room(scope, now), self.backoff.ends_at(scope, now)
        blocked_until = ends_at if not room else None
        if blocked_until is None:
            blocked_until = self.blocked.blocked_until(run, now)
        current = eligibility(
            run,
            proposals,
            lanes=min(self.limits.lanes, in_use + room),
            blocked_until=blocked_until,
            now=now,
        )
        # When the block of further slots ends, the job may use more than now.
        return current._replace(again_at=current.again_at or ends_at)

    # The budget of different cases

    def admit(self, is_open: Callable[[str], bool], now: float) -> None:
        """Let the next job that waits for the budget request its listing, if none does already.

        `is_open`: whether a request may begin at a court now.
        """
        admitted = self.budget.admitted
        if admitted is not None:
            if self.window.of_job(admitted) or self._is_in_turn(admitted, is_open, now):
                return
            self.budget.admitted = None
            self.refresh({admitted}, now)
        if self.budget and self.backoff.blocked_until(RefusedScope.BUDGET, now) is None:
            self.budget.admitted = self.budget.first(
                lambda court: self._has_budget(court, now) and is_open(court)
            )
            if self.budget.admitted is not None:
                self.refresh({self.budget.admitted}, now)

    def _is_in_turn(self, job_id: UUID, is_open: Callable[[str], bool], now: float) -> bool:
        """Return whether an admitted job still waits and may begin."""
        run = self.runs.get(job_id)
        return (
            run is not None
            and run.row.waits_for_budget
            and self._has_budget(run.row.court, now)
            and is_open(run.row.court)
            and self.eligibility(run, now).claimant is not None
        )

    def _has_budget(self, court: str, now: float) -> bool:
        """Return whether no refusal by the budget blocks a new case of a court."""
        scopes: tuple[Hashable, ...] = (RefusedScope.BUDGET, (RefusedScope.COURT_BUDGET, court))
        return all(self.backoff.blocked_until(scope, now) is None for scope in scopes)

    def _in_turn(self, run: RememberedRun, current: Eligibility) -> Eligibility:
        """Keep a job that waits for the budget out of the fair queue until it is admitted."""
        row = run.row
        waits = row.waits_for_budget and row.needs_listing and row.job_id != self.budget.admitted
        if waits and current.claimant is not None and current.claimant.may_begin:
            claimant = BudgetClaimant(row.client, row.court, row.priority, row.run_began_at)
            self.budget.put(row.job_id, claimant)
            return current._replace(claimant=None)
        self.budget.remove(row.job_id)
        return current

    def _probe_began(self, court: str) -> None:
        """Prevent a second probe until the next reading shows when it is due."""
        row = self.courts.get(court)
        if row is not None and row.next_probe_at is not None:
            self.courts[court] = row._replace(next_probe_at=float("inf"))
