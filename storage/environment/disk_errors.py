"""Translate the errors of the spool's disk: it is full, or it cannot be used."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import ServiceRefused, ServiceUnavailable
from storage.logs import OutageLog

PART, USE, REMOVE = "The spool", "use", "remove"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The folder is gone, read-only, not permitted or broken, or the process has no free descriptor. An
# error of a network connection has none of these numbers.
UNUSABLE = {
    errno.EACCES,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}

_outages = OutageLog(PART)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate an error of the disk into ServiceUnavailable: the file waits, no attempt counts."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise ServiceUnavailable("Room in the spool") from error
        if error.errno in UNUSABLE:
            refused = refusal(error)
            _outages.failed(refused.operation, refused)
            raise refused from error
        raise


def record_use() -> None:
    """Log the end of a refusal, if there was one: a file was opened on the disk."""
    _outages.succeeded(USE)


@contextmanager
def left_behind() -> Iterator[None]:
    """Log that the disk does not let a file go: once until it lets one go again.

    The caller has recorded what it removes the file for, and must do the rest.
    """
    try:
        yield
    except OSError as error:
        _outages.failed(REMOVE, refusal(error, REMOVE))
    else:
        _outages.succeeded(REMOVE)


def refusal(error: OSError, operation: str = USE) -> ServiceRefused:
    """Return the refusal for an error of a disk that cannot be used."""
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ServiceRefused(PART, operation, code, error.strerror or "")


def folder_trouble(folder: Path) -> str:
    """Return why no file can be written in `folder`; empty if one can."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    is_there = folder.is_dir()
    return f"The folder of the spool {'is not writable' if is_there else 'does not exist'}."
