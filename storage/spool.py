"""The spool: files between portal and bucket, on the disk of one host.

A file is named by its claim's token and belongs to the row that holds the token. Its mode is 0600.
Its room is reserved before the portal is requested: allocated on the disk, unless the file is small
and there is plenty of room. A spool file is never synced, because a lost one is fetched again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from storage.environment.disk_errors import (
    disk_errors,
    folder_trouble,
    left_behind,
    record_use,
)
from storage.errors import ConfigurationError, PermanentError, ServiceUnavailable, before_request

ID_FILE = "spool.id"
LOCK_FILE = "spool.lock"
# Contains the id of the installation that owns the files' rows.
OWNER_FILE = "spool.installation"
SUFFIX = ".part"
# The bytes that are reserved for a file of unknown size.
UNKNOWN_SIZE_BYTES = 1024 * 1024
# Files up to this size are only counted, not allocated on the disk. While there is plenty of room,
# they are not even counted: one count stays valid while a small part of the room fills.
SMALL_BYTES = 1024 * 1024
PLENTY_BYTES = 1024 * 1024 * 1024
COUNT_S = 0.1
# The step in bytes by which the room grows if a file exceeds its listed size.
GROWTH_BYTES = 8 * 1024 * 1024
BUFFER_BYTES = 128 * 1024
# The disk is never filled to its last byte: PostgreSQL may be on it.
HEADROOM_BYTES = 64 * 1024 * 1024


class SpoolFile:
    """A spool file that is being written. It never exceeds the room that was reserved for it.

    While `stays` returns True, a small file stays in memory.
    """

    def __init__(
        self,
        open_: Callable[[], BinaryIO],
        reserve: Callable[[int, int, int], int],
        stays: Callable[[], bool],
    ) -> None:
        self._open = open_
        self._reserve = reserve
        self._stays = stays
        self._raw: BinaryIO | None = None
        self._chunks: list[bytes] = []
        self._room_bytes = 0
        self._size_bytes = 0

    @property
    def data(self) -> bytes | None:
        """Return all bytes that were written, if they are in memory; None: they are in the file."""
        return b"".join(self._chunks) if self._raw is None else None

    def reserve(self, size_bytes: int, spare_bytes: int = 0) -> None:
        """Reserve room for this many bytes in all. Raises ServiceUnavailable or PermanentError."""
        if size_bytes <= self._room_bytes:
            return
        if self._raw is None:
            if size_bytes <= SMALL_BYTES and self._stays():
                self._room_bytes = SMALL_BYTES
                return
            self._raw = self._open()
        self._room_bytes = self._reserve(self._raw.fileno(), size_bytes, spare_bytes)
        self._raw.writelines(self._chunks)
        self._chunks = []

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._room_bytes:
            self.reserve(self._size_bytes, GROWTH_BYTES)
        if self._raw is None:
            self._chunks.append(chunk)
        else:
            self._raw.write(chunk)

    def end(self) -> None:
        """Give back the room that was not needed."""
        if self._raw is not None:
            self._raw.truncate()

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._raw is not None:
            self._raw.close()


class Spool:
    """A folder of spool files, with the spool's identity."""

    def __init__(self, folder: Path, spool_id: UUID | None, max_bytes: int) -> None:
        """Make the folder if it is missing. Raises ConfigurationError if it cannot be used."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._counted = float("-inf")
        self._is_roomy = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.spool_id = spool_id or self._identity()
        except OSError as error:
            raise ConfigurationError(
                f"SPOOL_DIR: the folder {folder} cannot be used: {error.strerror}."
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"SPOOL_DIR: the file {folder / ID_FILE} holds no UUID: delete it."
            ) from error

    def _identity(self) -> UUID:
        path = self._folder / ID_FILE
        with self._locked():
            # Empty after a power failure: the files of the old identity are then fetched again.
            if not path.exists() or not path.read_text().strip():
                _replace(path, str(uuid4()))
            return UUID(path.read_text().strip())

    def owner(self) -> str:
        """Return the id of the installation that owns the files' rows, empty if none is set."""
        with suppress(FileNotFoundError):
            # After a power failure it may hold any bytes.
            return (self._folder / OWNER_FILE).read_text(errors="replace").strip()
        return ""

    def take(self, installation_id: UUID) -> None:
        """Set the installation that owns the files' rows, unless one is set already."""
        with self._locked():
            if not self.owner():
                _replace(self._folder / OWNER_FILE, str(installation_id))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Two processes must not count the same free room twice.
        with (self._folder / LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def path(self, lease: UUID) -> Path:
        """Return the path of this claim's file."""
        return self._folder / f"{lease}{SUFFIX}"

    @contextmanager
    def create(
        self, lease: UUID, size_bytes: int | None, *, in_memory: bool = False
    ) -> Iterator[SpoolFile]:
        """Create a file with room for `size_bytes` (None: unknown). Remove it on any error.

        `in_memory`: a small file need not be written while there is plenty of room; its `data`
        belongs to the caller then. Raises ServiceUnavailable if there is no room, now or later;
        PermanentError if there can never be enough.
        """
        path = self.path(lease)
        stays = self._has_plenty if in_memory else _never
        try:
            with (
                disk_errors(),
                closing(SpoolFile(lambda: self._open(path), self._reserve, stays)) as file,
            ):
                with before_request():
                    file.reserve(size_bytes or UNKNOWN_SIZE_BYTES)
                yield file
                file.end()
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise

    def keep(self, lease: UUID, data: bytes) -> None:
        """Write a file that was only in memory. Raises ServiceUnavailable if there is no room."""
        with self.create(lease, len(data)) as file:
            file.write(data)

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        record_use()
        return os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES)

    def _reserve(self, descriptor: int, size_bytes: int, spare_bytes: int) -> int:
        """Extend the file to this length, and by `spare_bytes` more if possible. Return its length.

        The length is allocated on the disk and counted.
        """
        if size_bytes > self._max_bytes:
            # Waiting does not help: the file does not fit into an empty spool.
            raise PermanentError("TOO_LARGE", "The document is larger than the spool.")
        room_bytes = min(size_bytes + spare_bytes, self._max_bytes)
        if room_bytes <= SMALL_BYTES and self._has_plenty():
            os.ftruncate(descriptor, room_bytes)
            return room_bytes
        with self._locked():
            if self._lack(room_bytes - os.fstat(descriptor).st_size):
                raise ServiceUnavailable("Room in the spool")
            os.posix_fallocate(descriptor, 0, room_bytes)
        return room_bytes

    def _has_plenty(self) -> bool:
        """Return whether a few hundred more small files need no counting."""
        now = time.monotonic()
        if now - self._counted > COUNT_S:
            self._counted = now
            self._is_roomy = not self._lack(PLENTY_BYTES)
        return self._is_roomy

    def _lack(self, more_bytes: int) -> str:
        """Return why there is no room for so many more bytes; empty if there is."""
        if sum(self._sizes_bytes()) + more_bytes > self._max_bytes:
            return "The spool has reached SPOOL_MAX_BYTES."
        disk = os.statvfs(self._folder)
        if more_bytes + HEADROOM_BYTES > disk.f_bavail * disk.f_frsize:
            return "The disk of the spool is full."
        return ""

    @property
    def max_bytes(self) -> int:
        """Return the most bytes that the spool may hold."""
        return self._max_bytes

    def usage(self) -> tuple[int, int]:
        """Return the number of files, and their bytes including reserved ones."""
        sizes_bytes = list(self._sizes_bytes())
        return len(sizes_bytes), sum(sizes_bytes)

    def trouble(self) -> str:
        """Return why a file of a usual size cannot be written now; empty if it can."""
        try:
            return folder_trouble(self._folder) or self._lack(UNKNOWN_SIZE_BYTES)
        except OSError as error:
            return f"The folder of the spool cannot be used: {error.strerror}."

    def _sizes_bytes(self) -> Iterator[int]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # Uploaders delete their files at any time.
                with suppress(FileNotFoundError):
                    if entry.name.endswith(SUFFIX):
                        yield entry.stat().st_size

    def remove(self, lease: UUID) -> None:
        """Delete the file of a claim, if it exists.

        A file that the disk does not let go stays there. The sweeps of the heartbeat try again.
        """
        with left_behind():
            self.path(lease).unlink(missing_ok=True)

    def leases(self, *, older_than_s: float, now: float) -> dict[UUID, Path]:
        """Return the files untouched for `older_than_s` seconds at `now` (Unix time), by token."""
        found = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                if now - path.stat().st_mtime >= older_than_s:
                    found[UUID(path.name.removesuffix(SUFFIX))] = path
            except (FileNotFoundError, ValueError):
                continue
        return found


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text)
    draft.replace(path)


def _never() -> bool:
    return False
