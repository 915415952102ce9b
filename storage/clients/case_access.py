"""The cases that a client may request."""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import CaseNotAllowed
from storage.portal.slots import court_of


@dataclass(frozen=True, slots=True)
class CaseAccess:
    """The courts (as J.TR) and the cases that a client may request, None for all.

    A case must be in both. `refuses_sealed`: its jobs get nothing of a case with any seal.
    """

    courts: frozenset[str] | None = None
    cases: frozenset[str] | None = None
    refuses_sealed: bool = False

    def require(self, process_number: str) -> None:
        """Raise CaseNotAllowed if the client may not request the case of this number."""
        is_in_court = self.courts is None or court_of(process_number) in self.courts
        is_listed = self.cases is None or process_number in self.cases
        if not (is_in_court and is_listed):
            raise CaseNotAllowed


EVERY_CASE = CaseAccess()
