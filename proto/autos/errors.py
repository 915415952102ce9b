"""What calls to Autos can raise. str() says what happened and what to do; it holds no secret.

AutosError
├── InvalidRequest    the request is wrong: `violations` by field
├── NotFound          this client has no such job or document
├── NotPossible       not in the state of now: `reason` says which
├── NotAllowed        no token, or one that is not known
├── LimitReached      too much at once: `retry_delay_s` says when again
├── Unavailable       no answer: the server, or a part of it, is away
├── ServerBug         the server's fault; its text has the id under which it was logged
├── TookTooLong       not over within the time that was given; what was begun goes on
├── WrongSettings     an address, token or certificate that cannot be used
└── PullFailed        some files are not in the folder: `failures` by document_id
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autos._client.files.pulling import Pulled


class AutosError(Exception):
    """A call that did not do what it should.

    `reason` is stable, for programs: see the README's table. `metadata` is what the server adds to
    it. `retry_delay_s`: when to try again, None if it was not said.
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
        """Whether the same call may go through later."""
        return False


class InvalidRequest(AutosError):
    """The request is wrong; `violations` says of each field why."""


class NotFound(AutosError):
    """This client has no such job or document."""


class NotPossible(AutosError):
    """The job or the document is not in a state for that."""


class NotAllowed(AutosError):
    """The token is missing or not known."""


class LimitReached(AutosError):
    """Too many calls, jobs or watches of this client."""

    @property
    def is_passing(self) -> bool:
        """Only if the server said when: a message that is too large stays so."""
        return self.retry_delay_s is not None


class Unavailable(AutosError):
    """No answer, or one that a part of the server is away."""

    @property
    def is_passing(self) -> bool:
        """Always."""
        return True


class ServerBug(AutosError):
    """An answer that the contract does not know."""


class TookTooLong(AutosError, TimeoutError):
    """Not over within the time that was given."""


class WrongSettings(AutosError):
    """An address, a token or a certificate that cannot be used."""


class PullFailed(AutosError):
    """Some documents could not be fetched; `pulled` tells what is there."""

    def __init__(self, pulled: Pulled, failures: Mapping[str, str]) -> None:
        first = next(iter(failures.values()))
        more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
        super().__init__(f"{first}{more} Pull again: what is there is not fetched twice.")
        self.pulled = pulled
        self.failures = dict(failures)
