"""Names of files from names that a court gave. Pure.

    0007 G1 Sentença 3f2a9c1e.pdf

Sequence and instance as in the court's file, its name, the first of the document's id, and the
extension that the server found by the bytes. The same document has the same name in every job of
its case, so that a later pull finds it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from autos.downloads.v1 import downloads_pb2 as pb

# Bytes of UTF-8. File systems allow 255, encrypted ones 143, Windows 260 for the whole path.
MAX_NAME_BYTES = 140
ID_DIGITS = 8
# Not allowed in names somewhere, or with a meaning to shells' users.
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,5})$")
# What a court's name may end with though the bytes say otherwise.
_KNOWN = re.compile(
    r"\.(pdf|rtf|html?|xml|txt|png|jpe?g|gif|tiff?|webp|zip|docx?|xlsx?|pptx?|odt|ods|ole|msg|p7s"
    r"|mp3|ogg|wav|mp4|webm|wmv|bin)$",
    re.IGNORECASE,
)


def file_names(documents: Iterable[pb.Document]) -> dict[str, str]:
    """A name for each document by its id, no two the same on any file system."""
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
    """Equal for names that a file system may take for one."""
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
    """By the object's key: the server chose it by the bytes."""
    found = _EXTENSION.search(document.object_key)
    return found[1].lower() if found else "bin"


def _clean(text: str) -> str:
    """One line, without what is invisible, reverses the direction of writing or parts a path."""
    seen = "".join(c if _is_visible(c) else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(_FORBIDDEN.sub(" ", seen).split()).strip(" .")


def _is_visible(character: str) -> bool:
    # C: control, format (bidi, zero width), surrogate, private, unassigned. Z: spaces, lines.
    return unicodedata.category(character)[0] not in "CZ"


def _cut(text: str, max_bytes: int) -> str:
    cut = text.encode()[: max(0, max_bytes)].decode(errors="ignore")
    if len(cut) < len(text):
        # No accent without its letter: the letter alone would say something else.
        while cut and unicodedata.combining(text[len(cut)]):
            cut = cut[:-1]
    return cut
