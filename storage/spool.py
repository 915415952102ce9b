"""The spool: files between portal and bucket, on the disk of one host.

A file is named by its claim's token and belongs to the row that holds the token. It is 0600, its
room is kept before the portal is asked (laid out on the disk, unless it is small and there is
plenty), and it is never synced: a lost spool file is fetched again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from storage.errors import PermanentError, ServiceUnavailable, before_request

ID_FILE = "spool.id"
LOCK_FILE = "spool.lock"
# Names the installation whose rows own the files.
OWNER_FILE = "spool.installation"
SUFFIX = ".part"
# What is reserved for a file whose size the portal does not tell.
UNKNOWN_SIZE_BYTES = 1024 * 1024
# Up to this size files are only counted, not laid out on the disk, and not even that while there
# is plenty of room: a look at it is good for as long as it takes to fill a small part of it.
SMALL_BYTES = 1024 * 1024
PLENTY_BYTES = 1024 * 1024 * 1024
COUNT_S = 0.1
# By how much the room of a file grows that is larger than was said.
GROWTH_BYTES = 8 * 1024 * 1024
BUFFER_BYTES = 128 * 1024
# The disk is never filled to its last byte: PostgreSQL may live on it.
HEADROOM_BYTES = 64 * 1024 * 1024


class SpoolFile:
    """A spool file that is being written. It never outgrows the room that was reserved for it.

    While `stays` says so, a small one is only in memory.
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
        """All that was written, if it is in memory; None: it is in its file."""
        return b"".join(self._chunks) if self._raw is None else None

    def reserve(self, size_bytes: int, spare_bytes: int = 0) -> None:
        """Makes room for this many bytes in all. Raises ServiceUnavailable or PermanentError."""
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
        """Appends a chunk."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._room_bytes:
            self.reserve(self._size_bytes, GROWTH_BYTES)
        if self._raw is None:
            self._chunks.append(chunk)
        else:
            self._raw.write(chunk)

    def end(self) -> None:
        """Gives back what room was not needed."""
        if self._raw is not None:
            self._raw.truncate()

    def close(self) -> None:
        """Closes the file. May be said twice."""
        if self._raw is not None:
            self._raw.close()


class Spool:
    """A folder of spool files with its identity."""

    def __init__(self, folder: Path, spool_id: UUID | None, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._counted = float("-inf")
        self._is_roomy = False
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool_id = spool_id or self._identity()

    def _identity(self) -> UUID:
        path = self._folder / ID_FILE
        with self._locked():
            # Empty after a power cut: then the files of the old identity are fetched again.
            if not path.exists() or not path.read_text().strip():
                _replace(path, str(uuid4()))
            return UUID(path.read_text().strip())

    def owner(self) -> str:
        """Return the id of the installation whose rows own the files, empty if none is named."""
        with suppress(FileNotFoundError):
            return (self._folder / OWNER_FILE).read_text().strip()
        return ""

    def take(self, installation_id: UUID) -> None:
        """Name the installation whose rows own the files, unless one is named already."""
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
        """Where the file of this claim lies."""
        return self._folder / f"{lease}{SUFFIX}"

    @contextmanager
    def create(
        self, lease: UUID, size_bytes: int | None, *, in_memory: bool = False
    ) -> Iterator[SpoolFile]:
        """A new file with room for `size_bytes` (None: unknown); removed on any error.

        `in_memory`: a small one need not be written while there is plenty of room; its `data` is
        the caller's then. Raises ServiceUnavailable when there is no room, then or later;
        PermanentError when there can never be.
        """
        path = self.path(lease)
        stays = self._has_plenty if in_memory else _never
        try:
            with (
                no_room(),
                closing(SpoolFile(lambda: self._open(path), self._reserve, stays)) as file,
            ):
                with before_request():
                    file.reserve(size_bytes or UNKNOWN_SIZE_BYTES)
                yield file
                file.end()
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def keep(self, lease: UUID, data: bytes) -> None:
        """Writes a file that was only in memory. Raises ServiceUnavailable without room."""
        with self.create(lease, len(data)) as file:
            file.write(data)

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        return os.fdopen(descriptor, "wb", buffering=BUFFER_BYTES)

    def _reserve(self, descriptor: int, size_bytes: int, spare_bytes: int) -> int:
        """Makes the file this long, and by `spare_bytes` longer if it may be; its length then.

        On the disk and in the count.
        """
        if size_bytes > self._max_bytes:
            # Waiting would not help: it does not fit into an empty spool.
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
        """Whether there is so much room that a few hundred small files more need no counting."""
        now = time.monotonic()
        if now - self._counted > COUNT_S:
            self._counted = now
            self._is_roomy = not self._lack(PLENTY_BYTES)
        return self._is_roomy

    def _lack(self, more_bytes: int) -> str:
        """What keeps so many more bytes from having room; empty when nothing does."""
        if sum(self._sizes_bytes()) + more_bytes > self._max_bytes:
            return "The spool has reached SPOOL_MAX_BYTES."
        disk = os.statvfs(self._folder)
        if more_bytes + HEADROOM_BYTES > disk.f_bavail * disk.f_frsize:
            return "The disk of the spool is full."
        return ""

    @property
    def max_bytes(self) -> int:
        """How much it may hold."""
        return self._max_bytes

    def usage(self) -> tuple[int, int]:
        """How many files wait here, and their bytes with what is reserved for them."""
        sizes_bytes = list(self._sizes_bytes())
        return len(sizes_bytes), sum(sizes_bytes)

    def trouble(self) -> str:
        """Why no file of a usual size has room now; empty while one has."""
        return self._lack(UNKNOWN_SIZE_BYTES)

    def _sizes_bytes(self) -> Iterator[int]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # Uploaders delete theirs at any moment.
                with suppress(FileNotFoundError):
                    if entry.name.endswith(SUFFIX):
                        yield entry.stat().st_size

    def remove(self, lease: UUID) -> None:
        """Deletes the file of a claim, if it is there."""
        self.path(lease).unlink(missing_ok=True)

    def leases(self, *, older_than_s: float, now: float) -> dict[UUID, Path]:
        """The files untouched for `older_than_s` seconds at `now` (Unix time), by their token."""
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


@contextmanager
def no_room() -> Iterator[None]:
    """A full disk as ServiceUnavailable: the file waits, no attempt is burnt."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ServiceUnavailable("Room in the spool") from error
        raise
