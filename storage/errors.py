"""Every error of Autos, by whose fault it is and whether trying again may help.

    AutosError
    ├── CallerError           the request is wrong; nothing was changed
    │   ├── InvalidRequest        fields, each with what is wrong and what would be right
    │   │   └── RequestIdReused
    │   ├── NotFound              a job or document that this client does not have
    │   ├── PreconditionFailed    right in itself, but not in the present state
    │   └── LimitReached          right in itself, but more than this client may have now
    ├── PermanentError        the world said no: fail it, with `reason`
    ├── TransientError        the world is busy: try again, with `reason` in the end
    │   └── TooFast               the portal asked for a pause; burns no attempt
    ├── ServiceUnavailable    PostgreSQL, Redis, S3 or the portal's login is away; burns no attempt
    │   ├── CredentialsRefused    the portal refuses the login: nothing is asked for a while
    │   └── ServiceRefused        the part answers, and says no: an operator has to act
    │       ├── StoreRefused          S3 refuses an operation
    │       └── PortalUntrusted       the portal's certificate is not trusted
    └── LeaseLost             the claim is no longer ours: stop, change nothing

Foreign errors are translated where they enter, once per library, with the cause kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job or document failed: the contract's Error as plain values.

    `reason` is stable UPPER_SNAKE_CASE, `message` is for people and holds no secret.
    """

    reason: str
    message: str
    is_retryable: bool


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request and what is wrong with it."""

    field: str
    description: str


class AutosError(Exception):
    """Base of all errors that Autos raises on purpose."""

    reason = "INTERNAL"


class CallerError(AutosError):
    """The request is wrong. The caller can repair it; we changed nothing."""


class InvalidRequest(CallerError):
    """One or more fields are wrong."""

    reason = "INVALID_REQUEST"

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """The error for a single field."""
        return cls(FieldViolation(field, description))


class RequestIdReused(InvalidRequest):
    """The same request_id came with other values."""

    reason = "REQUEST_ID_REUSED"


class NotFound(CallerError):
    """This client has no such thing.

    `resource_type` is "job" or "document"; `resource_name` is what the caller gave.
    """

    def __init__(self, resource_type: str, resource_name: str) -> None:
        super().__init__(f"There is no {resource_type} {resource_name}.")
        self.resource_type = resource_type
        self.resource_name = resource_name
        self.reason = f"{resource_type.upper()}_NOT_FOUND"


class PreconditionFailed(CallerError):
    """The request is right in itself but not in the present state."""

    def __init__(self, reason: str, message: str, subject: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.subject = subject


class LimitReached(CallerError):
    """More than `limit` of something for this client; what there is goes on undisturbed.

    `retry_in_s`: when another try may succeed.
    """

    def __init__(
        self, reason: str, message: str, *, client: str, limit: int, retry_in_s: float
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.client = client
        self.limit = limit
        self.retry_in_s = retry_in_s

    @classmethod
    def too_many_jobs(cls, client: str, limit: int) -> LimitReached:
        """For StartDownload and RetryJob while `limit` jobs of the client run."""
        return cls(
            "TOO_MANY_JOBS",
            f"Client {client} has reached its limit of jobs that run at once: {limit}.",
            client=client,
            limit=limit,
            retry_in_s=5,
        )


class AttemptError(AutosError):
    """An attempt at something failed; `reason` goes to the caller."""

    is_retryable = False

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def as_failure(self) -> Failure:
        """What is told about it once it is final."""
        return Failure(self.reason, str(self), self.is_retryable)


class PermanentError(AttemptError):
    """Trying again would give the same answer. `is_requested`: the portal was requested at all."""

    is_requested = True


@contextmanager
def before_request() -> Iterator[None]:
    """Mark a PermanentError that is raised in the block: no request was made."""
    try:
        yield
    except PermanentError as error:
        error.is_requested = False
        raise


class TransientError(AttemptError):
    """Trying again may help. `is_few`: seldom enough that three attempts must do (PDPJ.md).

    `is_answered`: the portal is done with the request. Otherwise it may still work on it.
    """

    is_retryable = True

    def __init__(
        self, reason: str, message: str, *, is_few: bool = False, is_answered: bool = True
    ) -> None:
        super().__init__(reason, message)
        self.is_few = is_few
        self.is_answered = is_answered


class Doubted(TransientError):
    """A text came as a document, and nothing supports that it is the document.

    `sha256`: of the text. `is_first`: no other answer was compared with it; no failed attempt.
    """

    def __init__(
        self, message: str, sha256: str, *, is_first: bool = False, is_few: bool = False
    ) -> None:
        super().__init__("NOT_A_DOCUMENT", message, is_few=is_few)
        self.sha256 = sha256
        self.is_first = is_first


class TooFast(TransientError):
    """The portal asked for a pause of `retry_after_s` seconds (None: it did not say how long).

    `own_after`: after so many in a row for the same document, with good answers to others since, it
    is that document that the portal does not want to give.
    """

    def __init__(self, message: str, *, retry_after_s: float | None, own_after: int = 5) -> None:
        super().__init__("PORTAL_UNAVAILABLE", message)
        self.retry_after_s = retry_after_s
        self.own_after = own_after


class ServiceUnavailable(AutosError):
    """A part that everything needs (PostgreSQL, Redis, S3, the spool's disk, the portal's login)
    is away for now.
    """

    reason = "UNAVAILABLE"
    # How long what needs the part is put off.
    retry_in_s = 2.0

    def __init__(self, part: str, *, code: str = "", answer: str = "") -> None:
        """`code` and `answer`: what the part said, or how it failed; for the log only."""
        super().__init__(f"{part} is not available right now.")
        self.part = part
        self.code = code
        self.answer = answer

    @property
    def detail(self) -> str:
        """Return the same with code and answer, for the operator."""
        reported = " ".join(each for each in (self.code, self.answer) if each)
        return f"{self} ({reported})" if reported else str(self)


class RowsLocked(ServiceUnavailable):
    """Somebody else holds what is to be changed, for longer than others can be kept waiting."""


class CredentialsRefused(ServiceUnavailable):
    """The portal refuses the login, for `why`; nobody tries again for `held_for_s` seconds.

    No document's fault: it is given back as it was, and put off no longer than for an outage. The
    claim keeps it waiting, so that it goes on at once when the credentials change.
    """

    def __init__(self, why: str, *, held_for_s: float) -> None:
        super().__init__("The portal's login")
        self.why = why
        self.held_for_s = held_for_s


class ServiceRefused(ServiceUnavailable):
    """A part answered no. Waiting alone does not help, so it is asked again seldom.

    `code` is the part's own word for it, such as AccessDenied; `answer` is its text, for the log
    and the operator. Neither is in the text of the error, which callers see.
    """

    retry_in_s = 30.0

    def __init__(self, part: str, operation: str, code: str, answer: str) -> None:
        super().__init__(part, code=code, answer=answer)
        self.operation = operation

    @property
    def detail(self) -> str:
        """Return the refused operation, the code and the answer in one sentence."""
        reported = f" ({self.answer})" if self.answer else ""
        return f"{self.part} refuses {self.operation}: {self.code}{reported}."


class StoreRefused(ServiceRefused):
    """S3 answered no to an operation."""

    def __init__(self, operation: str, code: str, answer: str) -> None:
        super().__init__("S3", operation, code, answer)


class PortalUntrusted(ServiceRefused):
    """The certificate of the portal, or of its login, is not trusted: nothing was sent.

    All requests pause meanwhile, so what failed need not be put off for long.
    """

    retry_in_s = 5.0

    def __init__(self, answer: str) -> None:
        super().__init__("The portal", "TLS", "CERTIFICATE_NOT_TRUSTED", answer)


class LeaseLost(AutosError):
    """The claim was taken back: cancelled, expired, or the process is stopping."""

    reason = "LEASE_LOST"


class ConfigurationError(AutosError):
    """The settings cannot be used. The text is for the operator, one sentence per problem."""

    reason = "CONFIGURATION"
