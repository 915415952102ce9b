"""A folder in which the forked processes of one program keep their numbers together.

Dramatiq ends all of them if one dies, so the folder holds the files of one generation only. The
parent creates it before the processes begin, and removes it after their end. The next parent
removes the folder of a killed parent.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import ConfigurationError

PREFIX = "autos-metrics-"
# prometheus_client reads it at its import: in the children, not before.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LOCK = "lock"
# A younger folder may have been created and not locked yet.
LEFT_AGE_S = 60.0


@contextmanager
def shared_folder(environ: MutableMapping[str, str], data_dir: Path) -> Iterator[Path]:
    """Create a private folder, named in `environ` for prometheus_client, until the block ends.

    It is in the folder of temporary files; in `data_dir` if no such folder is writable, as in a
    container. Raises ConfigurationError if `data_dir` is not writable, either.
    """
    parent = _writable_folder(data_dir)
    _remove_left_behind(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = _locked(folder)
    environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _writable_folder(data_dir: Path) -> Path:
    with suppress(FileNotFoundError):
        return Path(tempfile.gettempdir())
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            return data_dir
    except OSError as error:
        raise ConfigurationError(
            f"METRICS_LISTEN: the numbers need a writable folder, and neither TMPDIR nor DATA_DIR"
            f" ({data_dir}) is one: {error.strerror}."
        ) from error


def _remove_left_behind(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            made = folder.stat()
            if made.st_uid != os.getuid() or time.time() - made.st_mtime < LEFT_AGE_S:
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return the lock of a folder, None if the folder is in use. Forked processes hold it too."""
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
