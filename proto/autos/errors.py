"""The errors that the Python client raises. str() has the cause and the remedy, and no secret.

AutosError
├── InvalidRequest    the request is invalid: `violations` by field
├── NotFound          this client has no such job or document
├── NotPossible       the current state does not allow it: see `reason`
├── NotAllowed        the token is missing or unknown
├── LimitReached      a limit of this client: retry after `retry_delay_s`
├── Unavailable       no answer: the server or a part of it is unavailable
├── ServerBug         a fault of the server: its text has the id of the log entry
├── TookTooLong       the timeout has passed; the job continues
├── WrongSettings     an address, token or certificate cannot be used
└── PullFailed        some files are not in the folder: `failures` by document_id
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autos.pulled import Pulled


class AutosError(Exception):
    """The base class of all errors of a call.

    `reason` is stable, for programs: see docs/reference/errors.md. `metadata`: the server's
    additions to it. `retry_delay_s`: seconds until a retry, None if the server gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Mapping[str, str] | None = None,
        retry_delay_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = dict(violations or {})
        self.retry_delay_s = retry_delay_s

    @property
    def is_passing(self) -> bool:
        """Return True if the same call may succeed later."""
        return False


class InvalidRequest(AutosError):
    """The request is invalid. `violations` has the cause by field."""


class NotFound(AutosError):
    """This client has no such job or document."""


class NotPossible(AutosError):
    """The state of the job or the document does not allow the call."""


class NotAllowed(AutosError):
    """The token is missing or unknown."""


class LimitReached(AutosError):
    """Too many calls, jobs or watches of this client."""

    @property
    def is_passing(self) -> bool:
        """Return True if the server gave a retry delay; a message that is too large stays so."""
        return self.retry_delay_s is not None


class Unavailable(AutosError):
    """There was no answer, or a part of the server is unavailable."""

    @property
    def is_passing(self) -> bool:
        """Return True."""
        return True


class ServerBug(AutosError):
    """The answer is not one that the contract allows."""


class TookTooLong(AutosError, TimeoutError):
    """The job has not ended within the timeout."""


class WrongSettings(AutosError):
    """An address, a token or a certificate cannot be used."""


class PullFailed(AutosError):
    """Some documents could not be fetched. `pulled` has those in the folder."""

    def __init__(self, pulled: Pulled, failures: Mapping[str, str]) -> None:
        first = next(iter(failures.values()))
        more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
        super().__init__(f"{first}{more} Pull again: existing files are not fetched twice.")
        self.pulled = pulled
        self.failures = dict(failures)
