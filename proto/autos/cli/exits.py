"""The exit codes of the command. Numbers from 64 on are those of sysexits.h."""

from __future__ import annotations

from enum import IntEnum

from autos import errors
from autos.downloads.v1 import downloads_pb2 as pb


class Exit(IntEnum):
    """The exit codes. docs/reference/cli.md has them in a table."""

    OK = 0
    ERROR = 1
    USAGE = 2
    PARTIALLY_COMPLETED = 3
    FAILED = 4
    CANCELLED = 5
    NOT_POSSIBLE = 6
    INVALID = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    SERVER_BUG = 70
    CANNOT_WRITE = 73
    TRY_LATER = 75
    NOT_ALLOWED = 77
    WRONG_SETTINGS = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_OF_ERRORS: tuple[tuple[type[errors.AutosError], Exit], ...] = (
    (errors.InvalidRequest, Exit.INVALID),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.NotPossible, Exit.NOT_POSSIBLE),
    (errors.NotAllowed, Exit.NOT_ALLOWED),
    (errors.LimitReached, Exit.TRY_LATER),
    (errors.TookTooLong, Exit.TRY_LATER),
    (errors.Unavailable, Exit.UNAVAILABLE),
    (errors.ServerBug, Exit.SERVER_BUG),
    (errors.WrongSettings, Exit.WRONG_SETTINGS),
    (errors.PullFailed, Exit.ERROR),
)
_OF_STATES: dict[int, Exit] = {
    pb.JOB_STATE_PARTIALLY_COMPLETED: Exit.PARTIALLY_COMPLETED,
    pb.JOB_STATE_FAILED: Exit.FAILED,
    pb.JOB_STATE_CANCELLED: Exit.CANCELLED,
}


def exit_of_error(error: errors.AutosError) -> Exit:
    """Return the exit code of an error, for scripts."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), Exit.ERROR)


def exit_of_job(job: pb.Job) -> Exit:
    """Return the exit code of an ended job. OK: it is COMPLETED, or still running."""
    return exit_of_state(job.state)


def exit_of_state(state: int) -> Exit:
    """Return the exit code of a job in this state."""
    return _OF_STATES.get(state, Exit.OK)
