"""The checks of a file during its transfer: hash, size and type, in constant memory. Pure."""

from __future__ import annotations

import hashlib
import re

from actors.contents.content_types import by_name, decide, is_textual, stated_type
from actors.contents.file_ends import BoxWalk, FileEdges, GroupWalk, PdfWalk, is_ended
from actors.contents.json_fields import charset, mime_type, with_charset
from actors.contents.magic import PDF, as_utf_8, by_signature, is_text
from actors.contents.non_documents import reject_non_document, reject_page_shell
from storage.errors import PermanentError, TransientError
from storage.portal.document_claims import CheckedContent

_HEAD_BYTES = 64 * 1024
_TAIL_BYTES = 16 * 1024
# Readers find the end of a PDF within this distance. A body without framing must end there.
_PDF_TRAILER_BYTES = 1_024
_PDF_OBJECT = re.compile(rb"\d\s+\d+\s+obj\b")
_PADDING = b"\0\t\n\x0b\x0c\r "
_BLANK = b"\xef\xbb\xbf\t\n\r "
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# A zip begins with its end if it has no entry.
_EMPTY_ZIP = b"PK\x05\x06"
_PAGE_CODINGS = ("application/gzip", "application/zstd")


class ContentCheck:
    """Check one file while it streams; `finish` returns its type, or raises why it is none.

    The `listed` values and `name` are the listing's; `declared_length` is the Content-Length in
    bytes. None is unknown.
    """

    def __init__(
        self,
        *,
        listed_size_bytes: int | None,
        listed_content_type: str | None,
        declared_length: int | None,
        header_content_type: str | None,
        name: str,
        max_bytes: int,
    ) -> None:
        self._listed_size_bytes = listed_size_bytes
        self._declared_length = declared_length
        self._header_type = stated_type(mime_type(header_content_type or ""))
        self._listed_type = stated_type(listed_content_type)
        self._charset = charset(header_content_type or "") or charset(listed_content_type or "")
        self._named_type = by_name(name)
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._head = bytearray()
        # The last bytes before the padding that ends the file, and of that padding.
        self._tail = b""
        self._padding = b""
        self._boxes = BoxWalk()
        self._groups = GroupWalk()
        self._pdf = PdfWalk()
        for size in (declared_length, listed_size_bytes):
            refuse_too_large(size or 0, max_bytes)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises PermanentError TOO_LARGE as soon as they are too many."""
        self._size_bytes += len(chunk)
        refuse_too_large(self._size_bytes, self._max_bytes)
        self._sha256.update(chunk)
        self._boxes.feed(chunk)
        self._groups.feed(chunk)
        self._pdf.feed(chunk)
        self._head += chunk[: _HEAD_BYTES - len(self._head)]
        kept = chunk.rstrip(_PADDING)
        if kept:
            self._tail = (self._tail + self._padding + kept[-_TAIL_BYTES:])[-_TAIL_BYTES:]
            self._padding = b""
        self._padding = (self._padding + chunk[len(kept) :][-_TAIL_BYTES:])[-_TAIL_BYTES:]

    def finish(self, *, is_framed: bool) -> CheckedContent:
        """Return the checked content of a complete file. `is_framed`: the transport proves its end.

        A file with exactly the listed size is the document, whatever its content is. Without a
        listed size, content that does not show its format in its first bytes is doubtful: messages
        are texts, and a page in a coding that no header names has no known format. A PDF behind
        a text is doubtful, because a server may have added the text, and so is an image in place of
        something else, and a file that does not end where its format places its end. Raises
        TransientError CORRUPT or NOT_A_DOCUMENT.
        """
        head = bytes(self._head)
        is_proven = self._listed_size_bytes == self._size_bytes
        if self._size_bytes == 0 or (not is_proven and self._is_blank(head)):
            raise corrupt("The portal sent an empty file.")
        mime, extension = decide(head, self._header_type, self._listed_type, self._named_type)
        is_signed = by_signature(head) is not None
        is_shown = is_signed or mime == PDF
        is_at_begin = is_signed or head.lstrip(_BLANK).startswith(b"%PDF-")
        self._refuse_other_answers(head, is_proven=is_proven, is_shown=is_shown)
        self._check_size("announced", self._declared_length)
        self._check_size("listed", self._listed_size_bytes)
        is_whole = is_proven or self._is_whole(mime, is_framed)
        may_be_message = not (is_proven or (is_at_begin and self._is_supported(mime)))
        if is_textual(mime):
            mime = with_charset(mime, self._charset)
        return CheckedContent(
            self._size_bytes,
            self._sha256.hexdigest(),
            mime,
            extension,
            is_doubtful=may_be_message or not is_whole,
            may_be_message=may_be_message,
        )

    def _is_blank(self, head: bytes) -> bool:
        """Return whether the file is only white space, with a byte order mark or without, or a zip
        with nothing in it.
        """
        if head.startswith(_EMPTY_ZIP):
            return True
        is_padding = self._tail == b"" or self._tail in _BOMS
        return is_padding and not as_utf_8(head).removeprefix(_BOMS[0]).strip()

    def _is_supported(self, mime: str) -> bool:
        """Return whether a format that shows itself may be what the listing and the name say.

        Firewalls send images of their own, and proxies compressed pages without their header, or
        compressed files with a header as if the compression were theirs.
        """
        claimed = self._listed_type or self._named_type
        if mime in _PAGE_CODINGS or claimed in _PAGE_CODINGS:
            return claimed == mime
        return claimed is None or claimed.startswith("image/") or not mime.startswith("image/")

    def _refuse_other_answers(self, head: bytes, *, is_proven: bool, is_shown: bool) -> None:
        is_whole = len(head) == self._size_bytes
        if is_proven:
            reject_page_shell(head, is_whole=is_whole)
        elif not is_shown and is_text(head):
            reject_non_document(
                head,
                is_whole=is_whole,
                header_type=self._header_type,
                listed_type=self._listed_type or self._named_type,
            )

    def _check_size(self, how: str, expected: int | None) -> None:
        if expected is not None and expected != self._size_bytes:
            raise corrupt(
                f"The portal sent {self._size_bytes} bytes of a file {how} with {expected}."
            )

    def _is_whole(self, mime: str, is_framed: bool) -> bool:
        """Return whether an unproven file shows its end, or has none of its own and a known length.

        Raises TransientError CORRUPT if it is a PDF without an end, or if it may be cut and only
        the end of the connection ended it.
        """
        if mime == PDF:
            if not self._is_pdf_ended(is_framed):
                raise corrupt("The PDF that the portal sent is cut off.")
            # A server may have added what follows, or it is the beginning of a cut revision.
            return self._tail.endswith(b"%%EOF") and not self._pdf.is_spliced
        has_end = is_ended(self._edges())
        # A body without framing is complete only if its content proves it.
        if not (is_framed or has_end):
            raise corrupt("Nothing confirms that the file is complete.")
        # A server that lost the rest of a file ends the chunks in order. It has no length to send.
        return self._declared_length is not None if has_end is None else has_end

    def _edges(self) -> FileEdges:
        ends = (bytes(self._head), self._tail, self._padding, self._size_bytes)
        return FileEdges(*ends, self._boxes, self._groups)

    def _is_pdf_ended(self, is_framed: bool) -> bool:
        """Return whether the PDF's end is there. Other bytes may follow, but no PDF object."""
        if not is_framed:
            return b"%%EOF" in self._tail[-_PDF_TRAILER_BYTES:]
        _, mark, rest = self._tail.rpartition(b"%%EOF")
        return bool(mark) and not _PDF_OBJECT.search(rest)


def refuse_too_large(size_bytes: int, max_bytes: int) -> None:
    """Raise PermanentError TOO_LARGE for a size above the limit."""
    if size_bytes > max_bytes:
        raise PermanentError(
            "TOO_LARGE", f"The document is larger than the {max_bytes} bytes allowed."
        )


def corrupt(message: str) -> TransientError:
    """Return the error for a damaged or incomplete file."""
    return TransientError("CORRUPT", message)
