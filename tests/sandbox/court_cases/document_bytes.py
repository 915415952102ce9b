"""Bytes of documents: real formats of any size, always the same for the same seed."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from uuid import UUID

MEDIA_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html",
    "rtf": "text/richtext",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "zip": "application/zip",
    "text": "text/plain",
}
MINIMUM_BYTES = 1024
"""No format below needs more than this for itself."""

_BLOCK_BYTES = 65536


def content(kind: str, seed: UUID, size_bytes: int) -> bytes:
    """Return a whole document. For large ones, `chunks` needs less memory."""
    return b"".join(chunks(kind, seed, size_bytes))


def chunks(kind: str, seed: UUID, size_bytes: int) -> Iterator[bytes]:
    """Yield a document of `size_bytes` in pieces of at most 64 KiB, except images and zip."""
    if kind in _WHOLE:
        yield _WHOLE[kind](seed, size_bytes)
        return
    head, tail = _pdf_frame(seed, size_bytes) if kind == "pdf" else _text_frame(kind, seed)
    yield head
    yield from _filler(seed, size_bytes - len(head) - len(tail))
    yield tail


def _filler(seed: UUID, length: int) -> Iterator[bytes]:
    """Return hexadecimal digits: legal inside every format here, and hard to compress."""
    if length < 0:
        raise ValueError(f"a document needs at least {MINIMUM_BYTES} bytes")
    block = hashlib.shake_256(seed.bytes).hexdigest(min(length, _BLOCK_BYTES) // 2 + 1).encode()
    block = block[:_BLOCK_BYTES]
    while length > 0:
        yield block[:length]
        length -= len(block)


def _text_frame(kind: str, seed: UUID) -> tuple[bytes, bytes]:
    frames = {
        "html": (
            f'<div class="documento" id="{seed}"><p>Vistos. Intimem-se as partes. ',
            "</p></div>",
        ),
        "rtf": (rf"{{\rtf1\ansi\deff0 {{\fonttbl {{\f0 Arial;}}}}\f0 Despacho {seed} ", r"\par}"),
        "text": (f"Certidão {seed}\n", "\n"),
    }
    head, tail = frames[kind]
    return head.encode(), tail.encode()


def _pdf_frame(seed: UUID, size_bytes: int) -> tuple[bytes, bytes]:
    """Return one page that shows the seed, and an unused stream, still open, for the filler.

    Offsets and lengths have ten digits whatever their value, so that neither end changes its size.
    """
    text = f"BT /F1 12 Tf 72 720 Td (Documento {seed}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    head = "%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(head))
        head += f"{number} 0 obj\n{body}\nendobj\n"
    offsets.append(len(head))
    opening = "6 0 obj\n<< /Length {:010d} >>\nstream\n"
    closing = "\nendstream\nendobj\n"
    entries = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    table = f"xref\n0 7\n0000000000 65535 f \n{entries}trailer\n<< /Size 7 /Root 1 0 R >>\n"
    ending = "startxref\n{:010d}\n%%EOF\n"
    after = len(table) + len(ending.format(0))
    before = len(head) + len(opening.format(0))
    filler = size_bytes - before - len(closing) - after
    head += opening.format(max(filler, 0))
    return head.encode(), (closing + table + ending.format(size_bytes - after)).encode()


def _png(seed: UUID, size_bytes: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")
    room = size_bytes - len(start) - len(end) - 12
    return start + chunk(b"paDd", b"".join(_filler(seed, room))) + end


_JPEG_START = bytes.fromhex("ffd8 ffe0 0010 4a46494600 0101 00 0001 0001 0000")
_JPEG_END = bytes.fromhex(
    "ffdb00430003020202020203020202030303030406040404040408060605060908"
    "0a0a090809090a0c0f0c0a0b0e0b09090d110d0e0f101011100a0c12131210130f"
    "101010ffc9000b080001000101011100ffcc000600101005ffda0008010100003f"
    "00d2cf20ffd9"
)


def _jpeg(seed: UUID, size_bytes: int) -> bytes:
    """Return one pixel and comments; a comment has at most 65,533 bytes plus four of its own."""
    room = size_bytes - len(_JPEG_START) - len(_JPEG_END)
    comments = b""
    while len(comments) < room:
        length = min(room - len(comments), 60000)
        if 0 < room - len(comments) - length < 4:
            length -= 4
        text = b"".join(_filler(seed, length - 4))
        comments += b"\xff\xfe" + struct.pack(">H", length - 2) + text
    return _JPEG_START + comments + _JPEG_END


def _zip(seed: UUID, size_bytes: int) -> bytes:
    def archive(body: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as file:
            file.writestr(zipfile.ZipInfo(f"{seed}.txt"), body)
        return target.getvalue()

    return archive(b"".join(_filler(seed, size_bytes - len(archive(b"")))))


_WHOLE = {"png": _png, "jpeg": _jpeg, "zip": _zip}
