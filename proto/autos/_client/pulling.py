"""Pull: fetch all available documents of a job into a folder, in parallel and atomically.

A file has a name such as `0007 G1 Sentença 3f2a9c1e.pdf`: the sequence and the instance of the
court's file, the document's title, the beginning of its id, and the extension that the server
derived from the bytes. A document has the same name in every job of its case, so that a later pull
finds its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from autos._client.fetching import CHUNK_BYTES, NotFetched, Stopped, Transfer
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import AutosError, PullFailed
from autos.pulled import Pulled, PulledFile

# Bytes of UTF-8. File systems allow 255, encrypted ones 143; Windows allows 260 for a whole path.
MAX_NAME_BYTES = 140
ID_DIGITS = 8
# Characters that some file system forbids or that have a meaning in shells.
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,5})$")
# Extensions that a court's title may have although the bytes have another type.
_KNOWN = re.compile(
    r"\.(pdf|rtf|html?|xml|txt|png|jpe?g|gif|tiff?|webp|zip|docx?|xlsx?|pptx?|odt|ods|ole|msg|p7s"
    r"|mp3|ogg|wav|mp4|webm|wmv|bin)$",
    re.IGNORECASE,
)


def file_names(documents: Iterable[pb.Document]) -> dict[str, str]:
    """Return a file name for each document by its id. All names differ on every file system."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for document in documents:
        name = _name(document, ID_DIGITS)
        if _folded(name) in taken:
            name = _name(document, None)
        taken.add(_folded(name))
        names[document.document_id] = name
    return names


def _folded(name: str) -> str:
    """Return a key that is equal for names that a file system may treat as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _name(document: pb.Document, id_digits: int | None) -> str:
    extension = _extension(document)
    head = f"{max(0, document.sequence):04d} {_cut(_clean(document.instance), 20)}".strip()
    identity = re.sub(r"[^0-9A-Za-z-]", "", document.document_id)[:id_digits]
    title = _KNOWN.sub("", _clean(document.name))
    room = MAX_NAME_BYTES - len(f"{head}  {identity}.{extension}".encode())
    title = _cut(title, room).strip(" .")
    return " ".join(part for part in (head, title, identity) if part) + f".{extension}"


def _extension(document: pb.Document) -> str:
    """Return the extension of the object's key, which the server derived from the bytes."""
    found = _EXTENSION.search(document.object_key)
    return found[1].lower() if found else "bin"


def _clean(text: str) -> str:
    """Remove line breaks, path separators, and invisible or bidirectional characters."""
    seen = "".join(c if _is_visible(c) else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(_FORBIDDEN.sub(" ", seen).split()).strip(" .")


def _is_visible(character: str) -> bool:
    # C: control, format (bidi, zero width), surrogate, private, unassigned. Z: separators.
    return unicodedata.category(character)[0] not in "CZ"


def _cut(text: str, max_bytes: int) -> str:
    cut = text.encode()[: max(0, max_bytes)].decode(errors="ignore")
    if len(cut) < len(text):
        # Do not separate a letter from its combining accent: the letter alone has another meaning.
        while cut and unicodedata.combining(text[len(cut)]):
            cut = cut[:-1]
    return cut


PARALLEL = 4
PART_PREFIX, PART_SUFFIX = ".autos-", ".part"
# A temporary file that was not written for this many seconds is left over from a killed pull.
PART_AGE_S = 3_600.0
# Fetched, or not wanted by the job.
_NOT_MISSING = frozenset({pb.DOCUMENT_STATE_AVAILABLE, pb.DOCUMENT_STATE_SKIPPED})


@dataclass(frozen=True)
class Pull:
    """The parameters of `run`. `mint` returns a fresh URL of a document; any thread may call it.

    `on_file` and `on_bytes` are called from several threads. If a document is fetched again from
    its beginning, `on_bytes` first gets the negative count of its previous bytes.
    """

    documents: Sequence[pb.Document]
    folder: Path
    mint: Callable[[pb.Document], str]
    parallel: int = PARALLEL
    on_file: Callable[[PulledFile], object] = lambda _: None
    on_bytes: Callable[[int], object] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Pulled:
        """Fetch the missing files. Raises PullFailed, AutosError from `mint`, OSError from disk."""
        _make_private(self.folder)
        _sweep(self.folder)
        available = [d for d in self.documents if d.state == pb.DOCUMENT_STATE_AVAILABLE]
        names = file_names(available)
        files, failures = self._all([(d, self.folder / names[d.document_id]) for d in available])
        pulled = Pulled(
            files=tuple(files[d.document_id] for d in available if d.document_id in files),
            missing=tuple(d for d in self.documents if d.state not in _NOT_MISSING),
        )
        if failures:
            raise PullFailed(pulled, failures)
        return pulled

    def _all(
        self, wanted: Sequence[tuple[pb.Document, Path]]
    ) -> tuple[dict[str, PulledFile], dict[str, str]]:
        files: dict[str, PulledFile] = {}
        failures: dict[str, str] = {}

        def one(document: pb.Document, path: Path) -> None:
            try:
                files[document.document_id] = self._one(document, path)
            except NotFetched as error:
                failures[document.document_id] = f"{path.name} could not be fetched: {error}."

        with ThreadPoolExecutor(self.parallel, thread_name_prefix="autos-pull") as pool:
            futures = [pool.submit(one, *each) for each in wanted]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # After an error, such as Ctrl-C or a full disk, the other transfers must stop.
                if not all(future.done() for future in futures):
                    self.stop.set()
                    pool.shutdown(wait=True, cancel_futures=True)
        errors = [future.exception() for future in done if not future.cancelled()]
        for error in sorted(filter(None, errors), key=lambda e: isinstance(e, Stopped)):
            raise error
        return files, failures

    def _one(self, document: pb.Document, path: Path) -> PulledFile:
        if self.stop.is_set():
            raise Stopped
        if _is_there(document, path):
            self.on_bytes(document.size_bytes)
            pulled = PulledFile(document, path, is_new=False)
        else:
            with _whole_or_nothing(path) as file:
                transfer = Transfer(document, file, stop=self.stop, on_bytes=self.on_bytes)
                transfer.run(lambda: self._url(document))
            pulled = PulledFile(document, path, is_new=True)
        self.on_file(pulled)
        return pulled

    def _url(self, document: pb.Document) -> str:
        try:
            return self.mint(document)
        except AutosError as error:
            if error.reason in ("DOCUMENT_NOT_AVAILABLE", "DOCUMENT_NOT_FOUND"):
                raise NotFetched(error.message.rstrip(".")) from error
            raise


def _is_there(document: pb.Document, path: Path) -> bool:
    """Return True if the file has the document's size and SHA-256."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == document.size_bytes:
            return hashlib.file_digest(file, "sha256").hexdigest() == document.sha256
    return False


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file. On success it is renamed to `path`; after an error it is removed."""
    part = path.with_name(f"{PART_PREFIX}{uuid4().hex}{PART_SUFFIX}")
    try:
        with open(part, "xb", CHUNK_BYTES, opener=_private) as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    """Open a file that only this user may read: court cases hold personal data."""
    return os.open(path, flags, 0o600)


def _make_private(folder: Path) -> None:
    """Make the folder and its missing parents for this user only. Existing ones stay."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed pulls."""
    for part in folder.glob(f"{PART_PREFIX}*{PART_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > PART_AGE_S:
                part.unlink()
