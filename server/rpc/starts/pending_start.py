"""A StartDownload call until it has its job, and what an attempt to start the job answered."""

from __future__ import annotations

from contextvars import Context, copy_context
from dataclasses import dataclass, field
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError
from storage.jobs.job_start import How, StartAnswer, StartAttempt, StartRequest, required
from storage.records import JobView

# If a request finds the rows of its case locked this often, it runs in its own transaction, which
# waits for the locks: see row_waits.
BUSY_TOGETHER = 5


@dataclass(slots=True, eq=False)
class PendingStart:
    """A StartDownload call that has no job yet.

    `refusal`: the error that the call raises. `is_gone`: the call has ended. `recent`: the job with
    a recent listing of the case, until that listing is read. `wider`: the running job of the case
    that does not want all of it, until it does. `busy_count`: how often another
    transaction had locked the case. `goes_alone`: the call needs a transaction of its own.
    """

    client: CallingClient
    wanted: StartRequest
    attempt: StartAttempt = field(init=False)
    refusal: CallerError | None = None
    recent: UUID | None = None
    wider: UUID | None = None
    busy_count: int = 0
    goes_alone: bool = False
    is_counted: bool = False
    is_gone: bool = False
    # The batch of the request has its result, which another call recorded.
    is_recorded: bool = False
    # The log line of each call in a batch has the bindings of that call.
    context: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.attempt = StartAttempt(self.wanted)


@dataclass(frozen=True, slots=True)
class StartedJob:
    """The job of a call. `message`: its serializable form if its queue status was known."""

    view: JobView
    is_new: bool
    message: pb.Job | None = None


def note_answer(start: PendingStart, answer: StartAnswer) -> JobView | None:
    """Return the job of an answer, or record in the call why there is none."""
    if answer.how is How.BUSY:
        start.busy_count += 1
        return None
    if answer.how is How.RECORDED:
        start.is_recorded = True
        return None
    if answer.how in {How.LOOK, How.WIDER}:
        start.recent, start.wider = answer.recent, answer.wider
        return None
    try:
        return required(start.wanted, answer)
    except CallerError as error:
        start.refusal = error
        return None


def is_alone(start: PendingStart) -> bool:
    """Return whether a start needs a transaction of its own."""
    return start.goes_alone or start.busy_count >= BUSY_TOGETHER


def is_over(start: PendingStart) -> bool:
    """Return whether a start gets no job of this call."""
    return start.refusal is not None or start.is_recorded
