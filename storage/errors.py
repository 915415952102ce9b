"""Every error of Autos, by its cause and by whether a retry may help.

    AutosError
    ├── CallerError           the request is wrong; nothing was changed
    │   ├── InvalidRequest        fields, each with its problem and the rule
    │   │   └── RequestIdReused
    │   ├── NotFound              a job, document or batch that this client does not have
    │   ├── CaseNotAllowed        a court or case that this client may not request
    │   ├── PreconditionFailed    valid in itself, but not in the current state
    │   └── LimitReached          valid in itself, but more than this client may have now
    ├── PermanentError        a retry gives the same answer: fail it, with `reason`
    ├── TransientError        a retry may help; after the last one fail it, with `reason`
    │   └── TooFast               the portal asked for a pause; no attempt counts
    ├── ServiceUnavailable    PostgreSQL, Redis, S3 or the portal's login; no attempt counts
    │   ├── CredentialsRefused    the portal refuses the login: no request for a while
    │   └── ServiceRefused        a dependency answers, but refuses: an operator has to act
    │       ├── StoreRefused          S3 refuses an operation
    │       └── PortalUntrusted       the portal's certificate is not trusted
    └── LeaseLost             the caller's claim is over: stop, change nothing

Errors of libraries are translated where they enter, once per library, and keep their cause.
server/errors converts them to statuses. Users of the Python client get proto/autos/errors.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


def printable(text: str) -> str:
    """Return the text with a question mark for each character that is not printable.

    PostgreSQL stores no NUL and no half of a surrogate pair, and a terminal obeys control
    characters.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job or document failed: the contract's Error as plain values.

    `reason` is stable UPPER_SNAKE_CASE. `message` is for people and contains no secret.
    """

    reason: str
    message: str
    is_retryable: bool


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request and its problem."""

    field: str
    description: str


class AutosError(Exception):
    """The base of all errors that Autos raises on purpose."""

    reason = "INTERNAL"


class CallerError(AutosError):
    """The request is wrong. The caller can correct it; nothing was changed."""


class InvalidRequest(CallerError):
    """One or more fields are wrong."""

    reason = "INVALID_REQUEST"

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> Self:
        """Return the error for a single field."""
        return cls(FieldViolation(field, description))


class RequestIdReused(InvalidRequest):
    """The request_id was used before with other values."""

    reason = "REQUEST_ID_REUSED"


class NotFound(CallerError):
    """This client has no such job, document or batch, no listing of such a case, or no such watch.

    `resource_type` is "job", "document", "batch", "case" or "subscription"; `resource_name` is the
    caller's value.
    """

    def __init__(self, resource_type: str, resource_name: str) -> None:
        super().__init__(f"There is no {resource_type} {resource_name}.")
        self.resource_type = resource_type
        self.resource_name = resource_name
        self.reason = f"{resource_type.upper()}_NOT_FOUND"


class CaseNotAllowed(CallerError):
    """This client may not ask for the case, whether there is one or not."""

    reason = "CASE_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("This client may not ask for this court or case.")


class EventsGone(CallerError):
    """Events after the caller's cursor are not kept any more."""

    reason = "EVENTS_GONE"

    def __init__(self) -> None:
        super().__init__(
            "Events after this cursor are not kept any more; begin again with an empty cursor."
        )


class PreconditionFailed(CallerError):
    """The request is valid in itself, but not in the current state."""

    def __init__(self, reason: str, message: str, subject: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a client: its error's reason and text, and the seconds until a retry may help."""

    reason: str
    text: str
    retry_in_s: float


# By their names in the clients file.
LIMITS = {
    "starts_per_minute": Limit(
        "TOO_MANY_STARTS", "Client {client} may call StartDownload {limit} times a minute.", 1
    ),
    "repeats_per_minute": Limit(
        "TOO_MANY_CALLS",
        "Client {client} may call RetryJob and RedeliverWebhook {limit} times a minute.",
        1,
    ),
    "calls_at_once": Limit(
        "TOO_MANY_CALLS",
        "Client {client} has reached its limit of calls under way here: {limit}.",
        1,
    ),
    "open_watches": Limit(
        "TOO_MANY_WATCHES",
        "Client {client} has reached its limit of open watches here: {limit}.",
        5,
    ),
    "jobs_at_once": Limit(
        "TOO_MANY_JOBS",
        "Client {client} has reached its limit of jobs that run at once: {limit}.",
        5,
    ),
    "waiting_jobs": Limit(
        "TOO_MANY_JOBS",
        "Client {client} has reached its limit of jobs that wait for their time: {limit}.",
        60,
    ),
    # Only UnsubscribeCase makes room.
    "subscriptions": Limit(
        "TOO_MANY_SUBSCRIPTIONS", "Client {client} watches as many cases as it may: {limit}.", 60
    ),
    # No client's own, but every job's. Only the job's end makes room.
    "webhooks_per_job": Limit(
        "TOO_MANY_WEBHOOKS",
        "The running job of this case has as many webhooks as a job may have: {limit}.",
        30,
    ),
}


class LimitReached(CallerError):
    """More than `limit` for this client. What is already running continues.

    `name`: the limit's name in LIMITS. `retry_in_s`: seconds after which another call may succeed,
    if they are not always the same.
    """

    def __init__(
        self, name: str, client: str, limit: int, *, retry_in_s: float | None = None
    ) -> None:
        kind = LIMITS[name]
        super().__init__(kind.text.format(client=client, limit=limit))
        self.reason = kind.reason
        self.client = client
        self.name = name
        self.limit = limit
        self.retry_in_s = kind.retry_in_s if retry_in_s is None else retry_in_s


class AttemptError(AutosError):
    """An attempt failed. Callers can read `reason`."""

    is_retryable = False

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def as_failure(self) -> Failure:
        """Return the failure that callers see once the error is final."""
        return Failure(self.reason, str(self), self.is_retryable)


class PermanentError(AttemptError):
    """A retry would give the same answer. `is_requested`: whether the portal was requested."""

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
    """A retry may help. `is_few`: it rarely helps, so ATTEMPTS_FEW count instead of ATTEMPTS.

    `is_answered`: the portal has finished the request. Otherwise it may still work on it.
    `retry_after_s`: the seconds after which the portal asks for a retry (None: it named no time).
    """

    is_retryable = True
    retry_after_s: float | None = None

    def __init__(
        self, reason: str, message: str, *, is_few: bool = False, is_answered: bool = True
    ) -> None:
        super().__init__(reason, message)
        self.is_few = is_few
        self.is_answered = is_answered


class Doubted(TransientError):
    """A text came as a document, and nothing confirms that it is the document.

    `sha256`: the hash of the text. `is_first`: no other answer was compared with it, so the attempt
    has not failed.
    """

    def __init__(
        self, message: str, sha256: str, *, is_first: bool = False, is_few: bool = False
    ) -> None:
        super().__init__("NOT_A_DOCUMENT", message, is_few=is_few)
        self.sha256 = sha256
        self.is_first = is_first


class TooFast(TransientError):
    """The portal asked for a pause of all requests.

    `own_after`: the number of consecutive refusals after which they concern only this document, if
    other documents got good answers since. `is_of_firewall`: a firewall refused, and the cause may
    be the requested address only.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        own_after: int = 5,
        is_of_firewall: bool = False,
    ) -> None:
        super().__init__("PORTAL_UNAVAILABLE", message)
        self.retry_after_s = retry_after_s
        self.own_after = own_after
        self.is_of_firewall = is_of_firewall


class ServiceUnavailable(AutosError):
    """A dependency that every job needs is unavailable for now.

    The dependencies are PostgreSQL, Redis, S3, the spool's disk and the portal's login.
    """

    reason = "UNAVAILABLE"
    # Seconds by which work that needs the dependency is postponed.
    retry_in_s = 2.0

    def __init__(self, part: str, *, code: str = "", answer: str = "") -> None:
        """Set the dependency.

        `code` and `answer`: its answer, or the kind of failure; for the log only.
        """
        super().__init__(f"{part} is not available right now.")
        self.part = part
        self.code = printable(code)
        self.answer = printable(answer)

    @property
    def detail(self) -> str:
        """Return the text with code and answer, for the operator."""
        reported = " ".join(each for each in (self.code, self.answer) if each)
        return f"{self} ({reported})" if reported else str(self)


class RowsLocked(ServiceUnavailable):
    """Another transaction has locked the rows for longer than other callers can wait."""


class CredentialsRefused(ServiceUnavailable):
    """The portal refuses the login, for `why`. No process tries again for `held_for_s` seconds.

    No document is at fault: it is given back unchanged, and postponed no longer than in an outage.
    The next claim makes it wait, so that it continues at once when the credentials change.
    """

    def __init__(self, why: str, *, held_for_s: float) -> None:
        super().__init__("The portal's login")
        self.why = why
        self.held_for_s = held_for_s


class ServiceRefused(ServiceUnavailable):
    """A dependency refused an operation. Waiting alone does not help, so retries are rare.

    `code` is the dependency's own code, such as AccessDenied. `answer` is its text, for the log and
    the operator. Neither is in the text of the error, which callers see.
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
    """S3 refused an operation."""

    def __init__(self, operation: str, code: str, answer: str) -> None:
        super().__init__("S3", operation, code, answer)


class PortalUntrusted(ServiceRefused):
    """The certificate of the portal, or of its login, is not trusted: nothing was sent.

    All requests pause meanwhile, so the failed request need not be postponed for long.
    """

    retry_in_s = 5.0

    def __init__(self, answer: str) -> None:
        super().__init__("The portal", "TLS", "CERTIFICATE_NOT_TRUSTED", answer)


class LeaseLost(AutosError):
    """The claim is over: cancelled, expired, or the process is stopping."""

    reason = "LEASE_LOST"


class ConfigurationError(AutosError):
    """The settings are not usable. The text is for the operator, one sentence per problem."""

    reason = "CONFIGURATION"
