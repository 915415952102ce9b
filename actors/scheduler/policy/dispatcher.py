"""A pass of the scheduler: choose the proposals of this moment. No I/O and no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import UUID

from actors.scheduler.policy.fairness.flows import FlowGate
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.scheduler_state import SchedulerState
from actors.scheduler.policy.window import Proposal
from storage.portal.outcomes import RefusedScope
from storage.priorities import Priority

# The most proposals of a pass, so that new hints are read soon.
MAX_PROPOSALS = 64

# The requests of a slice should take at most this many seconds together. The reason: the worker
# gives back documents whose requests have not begun 0.25 s after the claim.
SLICE_S = 0.2
# The shortest useful slices, in seconds: a shorter one costs more than its lane gains. The first
# value applies while threads and slots are free, the second while jobs wait for them.
LEAST_SLICE_S = 0.025
LEAST_CONTENDED_SLICE_S = 0.1
MAX_REQUESTS = 8


class ProposalMessage(NamedTuple):
    """The message of a proposal: `list_documents`, or `download_documents` with its requests.

    `goes_on`: after the listing the worker may claim the first document without a new proposal.
    """

    proposal_id: UUID
    is_listing: bool
    requests: int
    goes_on: bool


class Group(NamedTuple):
    """The messages for one job, which are sent as one `dramatiq.group`."""

    job_id: UUID
    messages: tuple[ProposalMessage, ...]


class Plan(NamedTuple):
    """The proposals of a pass, and when the next pass is due without a hint or reading.

    `is_idle`: no job waits for its turn, and a new one would be proposed at once.
    """

    groups: tuple[Group, ...]
    next_at: float | None
    is_idle: bool


def plan(state: SchedulerState, now: float, new_id: Callable[[], UUID]) -> Plan:
    """Drop proposals that are too old, and propose requests that may begin now.

    Args:
        state: the memory; `plan` changes it: its proposals are outstanding and charged from now on.
        now: seconds on the clock of all times in `state`.
        new_id: makes the ids of proposals.
    """
    state.drop_expired(now)
    state.wake(now)
    messages: dict[UUID, list[ProposalMessage]] = {}
    for proposal in _proposals(state, now, new_id):
        messages.setdefault(proposal.job_id, []).append(_message(state, proposal))
    groups = tuple(Group(job_id, tuple(of_job)) for job_id, of_job in messages.items())
    return Plan(groups, _next_at(state, now), _is_idle(state, now))


def _proposals(state: SchedulerState, now: float, new_id: Callable[[], UUID]) -> Iterator[Proposal]:
    if _is_closed(state, now):
        return
    free, files = _room(state, now)
    state.admit(lambda court: _court_room(state, court, now) > 0, now)
    courts = _courts_with_room(state, now)
    state.queue.refresh(
        now,
        at_once=_slots_in_use(state),
        per_court=state.limits.per_court,
        closed_courts=[court for court in courts if _is_court_closed(state, court, now)],
        dearest_s=_dearest_turn_s(state),
    )
    for _ in range(min(free, MAX_PROPOSALS)):
        by_rate = state.window.free_requests(state.portal, now)
        kinds = (True, False) if files > 0 else (True,)
        gates = {
            FlowGate(court, kind) for court, room in courts.items() if room > 0 for kind in kinds
        }
        run = _choose(state, gates, now) if by_rate != 0 else None
        if run is None:
            return
        proposal = _propose(state, run, by_rate, now, new_id())
        courts[proposal.court] -= 1
        files -= not proposal.is_listing
        yield proposal


def _dearest_turn_s(state: SchedulerState) -> float:
    """Return the most slot-seconds that a waiting job is expected to take in its turn."""
    # A listing may go on with a document.
    requests = {gate: 1 + gate.is_listing for gate in state.queue.gates()}
    turns = (state.estimator.request_s(gate.court) * each for gate, each in requests.items())
    return max(turns, default=0.0)


def _choose(state: SchedulerState, gates: set[FlowGate], now: float) -> RememberedRun | None:
    """Choose a job. If its case was refused since the job was queued, put the job aside."""
    while (job_id := state.queue.first(gates)) is not None:
        run = state.runs.get(job_id)
        claimant = state.eligibility(run, now).claimant if run else None
        if claimant is not None and claimant.may_begin:
            return run
        state.refresh({job_id}, now)
    return None


def _propose(
    state: SchedulerState, run: RememberedRun, by_rate: int | None, now: float, proposal_id: UUID
) -> Proposal:
    row, others = run.row, state.window.of_job(run.row.job_id)
    expected_s = state.estimator.request_s(row.court)
    requests = 1
    if not row.needs_listing:
        fresh = min(row.fresh, run.ready(now)) - sum(other.requests for other in others)
        free_lanes = state.limits.lanes - run.lanes_taken - len(others)
        requests = slice_size(
            expected_s=expected_s,
            fresh=fresh,
            free_lanes=free_lanes,
            slots=state.queue.slots_of(row.job_id),
        )
    requests = requests if by_rate is None else min(requests, by_rate)
    proposal = Proposal(
        proposal_id=proposal_id,
        job_id=row.job_id,
        court=row.court,
        is_listing=row.needs_listing,
        requests=requests,
        sent_at=now,
        charge_s=expected_s * requests,
    )
    state.window.add(proposal)
    state.queue.begin(row.job_id, proposal.charge_s)
    state.refresh({row.job_id}, now)
    return proposal


def _message(state: SchedulerState, proposal: Proposal) -> ProposalMessage:
    """Return the message of a proposal.

    The first document after a listing needs no proposal of its own: it takes the slot and thread of
    the listing, and is charged when it begins. So a job with one document takes one way through the
    scheduler instead of two. BULK jobs wait for their turn, and a rate counts requests beforehand.
    """
    run = state.runs.get(proposal.job_id)
    is_bulk = run is not None and run.row.priority is Priority.BULK
    return ProposalMessage(
        proposal.proposal_id,
        proposal.is_listing,
        proposal.requests,
        goes_on=proposal.is_listing and not is_bulk and state.portal.request_interval_s is None,
    )


def _is_closed(state: SchedulerState, now: float) -> bool:
    closed_until = state.portal.closed_until
    if closed_until is not None and closed_until > now:
        return True
    return state.backoff.blocked_until(RefusedScope.PORTAL, now) is not None


def _room(state: SchedulerState, now: float) -> tuple[int, int]:
    """Return how many more proposals may be sent, and how many of them for files."""
    # Slots without a slice in memory, such as those of probes, occupy threads, too.
    others = sum(1 for row in state.slots.rows() if not state.runs.is_unrecorded(row.token))
    unrecorded = state.runs.unrecorded + others
    free, files = state.window.free_threads(state.workers, unrecorded)
    free = min(free, state.window.free_slots(state.portal, len(state.slots)))
    free = min(free, state.room(RefusedScope.PORTAL, now))
    return max(0, free), min(free, files)


def _is_idle(state: SchedulerState, now: float) -> bool:
    return not state.queue.gates() and not _is_closed(state, now) and _room(state, now)[0] > 0


def _slots_in_use(state: SchedulerState) -> float:
    """Return how many slots can be in use at most: the portal, threads and the rate limit them."""
    threads = sum(worker.threads for worker in state.workers)
    slots = float(min(state.portal.at_once, threads))
    if state.portal.request_interval_s is None:
        return slots
    return min(slots, state.estimator.usual_s / state.portal.request_interval_s)


def _courts_with_room(state: SchedulerState, now: float) -> dict[str, int]:
    courts = {gate.court for gate in state.queue.gates()}
    return {court: _court_room(state, court, now) for court in courts}


def _court_room(state: SchedulerState, court: str, now: float) -> int:
    taken = state.slots.of_court(court) + state.window.of_court(court)
    if not _is_court_closed(state, court, now):
        return min(state.limits.per_court - taken, state.room((RefusedScope.COURT, court), now))
    row = state.courts.get(court)
    if row is None or row.next_probe_at is None or _is_court_refused(state, court, now):
        return 0
    # The breaker is open: one probe at a time, when it is due.
    if taken or row.next_probe_at > now:
        return 0
    return min(1, state.room((RefusedScope.COURT, court), now))


def _is_court_closed(state: SchedulerState, court: str, now: float) -> bool:
    row = state.courts.get(court)
    is_away = row is not None and row.next_probe_at is not None
    return is_away or _is_court_refused(state, court, now)


def _is_court_refused(state: SchedulerState, court: str, now: float) -> bool:
    return state.backoff.blocked_until((RefusedScope.COURT, court), now) is not None


def _next_at(state: SchedulerState, now: float) -> float | None:
    times = [
        state.window.next_expiry(),
        state.backoff.next_end(now),
        state.portal.closed_until,
        *(row.next_probe_at for row in state.courts.values()),
    ]
    if (sleeping := state.sleeping.first()) is not None:
        times.append(sleeping[0])
    if state.portal.request_interval_s is not None:
        times.append(state.window.rate_opens_at(state.portal, now))
    return min((at for at in times if at is not None and at > now), default=None)


def slice_size(
    *, expected_s: float, fresh: int, free_lanes: int, slots: float | None = None
) -> int:
    """Return the number of documents that the next slice of a job should request.

    The fresh documents of a job are spread over its free lanes, but over no more lanes than the job
    has slots for: while jobs wait for slots, fewer and longer slices cost less. No slice is longer
    than SLICE_S, so a slow court gets slices of one document. The claim limits the number again,
    because only the claim reads which documents are small.

    Args:
        expected_s: seconds that a request of the court is expected to take.
        fresh: documents that were never tried and that no outstanding proposal is expected to take.
        free_lanes: lanes that the job has left, including this slice's.
        slots: slots in the job's share of the portal; None if unknown.
    """
    most = min(MAX_REQUESTS, math.floor(SLICE_S / expected_s))
    if most <= 1 or fresh < 1:
        return 1
    lanes = free_lanes if slots is None else min(free_lanes, max(1, math.floor(slots)))
    least_s = LEAST_SLICE_S if lanes == free_lanes else LEAST_CONTENDED_SLICE_S
    least = min(fresh, math.floor(least_s / expected_s))
    return min(most, max(least, math.ceil(fresh / max(1, lanes))))
