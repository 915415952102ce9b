"""Check that the portal was asked for no case beyond the budget."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.callers.mixed_workload import LIMITED_COURT, Mix
from tests.chaos.checks.snapshot import Snapshot
from tests.sandbox.court_cases.cnj import digits

COURT = slice(13, 16)


def check(seen: Snapshot, mix: Mix) -> Iterator[str]:
    """Return a line for each problem with the budgets of different cases."""
    cases = {digits(each.number or "") for each in seen.requests if each.kind == "list"}
    of_court = {number for number in cases if number[COURT] == digits(LIMITED_COURT)}
    for name, found, setting in (
        ("all courts", cases, "PDPJ_CASES_PER_DAY"),
        (f"court {LIMITED_COURT}", of_court, "PDPJ_CASES_PER_30_DAYS_BY_COURT"),
    ):
        most = int(mix.settings[setting].rpartition("=")[2])
        if len(found) > most:
            yield f"the portal was asked for {len(found)} cases of {name}, the budget is {most}"
