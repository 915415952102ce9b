"""The scopes of a refusal: a portal, court, client, case or job that was refused as a whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from actors.hints.hints import ProposalRefused
from actors.scheduler.policy.run_state import RememberedRun
from actors.scheduler.policy.window import Proposal
from storage.portal.outcomes import RefusedScope

OF_BUDGET = (RefusedScope.BUDGET, RefusedScope.COURT_BUDGET)
OF_CLIENT = (RefusedScope.CLIENT, RefusedScope.CLIENT_COURT)


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
