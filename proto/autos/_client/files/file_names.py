"""File names of documents. Pure: no I/O.

    0007 G1 Sentença 3f2a9c1e.pdf

A name has the sequence and the instance of the court's file, the document's title, the beginning of
its id, and the extension that the server derived from the bytes. A document has the same name in
every job of its case, so that a later pull finds its file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from autos.downloads.v1 import downloads_pb2 as pb

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
