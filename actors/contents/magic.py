"""The type of a file as its first bytes prove it. Pure.

Only the outermost bytes count: the content of a container decides nothing.
"""

from __future__ import annotations

import re

PDF, RTF, HTML, XML, ZIP, OLE, PKCS7, EML = (
    "application/pdf",
    "application/rtf",
    "text/html",
    "application/xml",
    "application/zip",
    "application/x-ole-storage",
    "application/pkcs7-signature",
    "message/rfc822",
)
PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF-", PDF),
    (rb"\{\\rtf", RTF),
    (rb"\x89PNG\r\n\x1a\n", PNG),
    (rb"\xff\xd8\xff", JPEG),
    (rb"GIF8[79]a", GIF),
    (rb"II[*+]\0|MM\0[*+]", "image/tiff"),
    (rb"BM.{4}\0\0\0\0", "image/bmp"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"RIFF....AVI ", "video/x-msvideo"),
    (rb"PK\x03\x04|PK\x05\x06|PK(?:\x07\x08|00)PK\x03\x04", ZIP),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    # A CMS container in DER or BER: a sequence that begins with the object id of its kind.
    (
        rb"\x30(?:\x80|[\x01-\x7f]|\x81.|\x82..|\x83...|\x84....)"
        rb"\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x01-\x06]|\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09)",
        PKCS7,
    ),
    (rb"-----BEGIN (?:PKCS7|CMS)-----", PKCS7),
    (rb"Rar!\x1a\x07", "application/vnd.rar"),
    (rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (rb"\x1f\x8b\x08", "application/gzip"),
    (rb"BZh[1-9]1AY&SY", "application/x-bzip2"),
    (rb"\xfd7zXZ\0", "application/x-xz"),
    (rb"\x28\xb5\x2f\xfd", "application/zstd"),
    (rb"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    (rb".{257}ustar", "application/x-tar"),
    (rb"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (rb"....ftyp(?:M4A|M4B)", "audio/mp4"),
    (rb"....ftypqt", "video/quicktime"),
    (rb"....ftyp3g", "video/3gpp"),
    (rb"....ftyp(?:hei|mif1)", "image/heic"),
    (rb"....ftyp", "video/mp4"),
    (rb"OggS\0", "audio/ogg"),
    (rb"fLaC", "audio/flac"),
    (rb"#!AMR", "audio/amr"),
    (rb"ID3[\x02-\x04]|\xff[\xfb\xf3\xf2]", "audio/mpeg"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
    (rb"\x1a\x45\xdf\xa3.{0,60}matroska", "video/x-matroska"),
    (rb"\x1a\x45\xdf\xa3", "video/webm"),
    (rb"\0\0\x01[\xb3\xba]", "video/mpeg"),
    (rb"FLV\x01", "video/x-flv"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (rb"%!PS-|\xc5\xd0\xd3\xc6", "application/postscript"),
)
_SIGNATURES = tuple((re.compile(pattern, re.DOTALL), mime) for pattern, mime in _MAGIC)
# The first entry of such an archive contains its type at a fixed position.
_ODF = re.compile(rb"PK\x03\x04.{26}mimetype(application/vnd\.oasis\.opendocument\.[a-z]+)", re.S)
# A byte order mark, white space, comments and an XML declaration may come before the first tag.
# Possessive (*+): skipped text is never matched in another way.
_PREAMBLE = rb"(?:\xef\xbb\xbf)?(?:\s|<!--.{0,4096}?-->|<\?xml[^>]{0,200}\?>)*+"
_PAGE = re.compile(_PREAMBLE + rb"<(?:!doctype\s+html|html|head|body)\b", re.S | re.I)
_FRAGMENT = re.compile(
    _PREAMBLE + rb"<(?:div|p|span|table|b|i|u|br|hr|center|font|h[1-6]|style|meta|title|section"
    rb"|article|ul|ol|img|a|strong|em|pre|form|link|script|blockquote)[\s/>]",
    re.S | re.I,
)
_XML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\b|!DOCTYPE\s+(?!html\b)\w|[\w:.-]{1,100}\s+xmlns\b)"
)
# The head of a message. One of its fields is a MIME field.
_MESSAGE = re.compile(
    rb"(?:[A-Za-z][A-Za-z0-9-]{0,76}:[^\r\n]{0,2000}\r?\n(?:[ \t][^\r\n]{0,2000}\r?\n)*+){0,100}?"
    rb"MIME-Version:",
    re.I,
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# A text may contain a stray control byte. In other content one byte in ten is a control byte, and
# more at its beginning.
_STRAY_CONTROLS = 2
_BYTES_PER_CONTROL = 32
_LATE_PDF_BYTES = 1_024


def is_html_page(head: bytes) -> bool:
    """Return whether a whole HTML page begins here, not a fragment."""
    return _PAGE.match(as_utf_8(head)) is not None


def by_signature(head: bytes) -> str | None:
    """Return the MIME type of a binary format, proven by the first bytes."""
    for pattern, mime in _SIGNATURES:
        if pattern.match(head):
            odf = _ODF.match(head)
            return odf[1].decode() if odf else mime
    return None


def by_magic(head: bytes) -> str | None:
    """Return the MIME type that the first bytes prove."""
    if signed := by_signature(head):
        return signed
    text = as_utf_8(head)
    if _PAGE.match(text) or _FRAGMENT.match(text):
        return HTML
    if _XML.match(text):
        return XML
    return EML if _MESSAGE.match(text) else None


def is_late_pdf(head: bytes) -> bool:
    """Return whether a PDF begins after some foreign text, as readers allow."""
    start = head.find(b"%PDF-", 1, _LATE_PDF_BYTES)
    return start > 0 and by_magic(head) is None and not has_control(head[:start])


def has_control(head: bytes) -> bool:
    """Return whether there is a byte that occurs in no text."""
    return _CONTROL.search(as_utf_8(head)) is not None


def is_text(head: bytes) -> bool:
    """Return whether this is a text or a textual format (HTML, XML, JSON, a message).

    Portals, firewalls and proxies send such messages in place of a document.
    """
    if by_signature(head):
        return False
    if by_magic(head):
        return True
    text = as_utf_8(head)
    return all(
        len(_CONTROL.findall(part)) <= max(_STRAY_CONTROLS, len(part) // _BYTES_PER_CONTROL)
        for part in (text, text[:64])
    )


def as_utf_8(head: bytes) -> bytes:
    """Convert `head` from UTF-16 if it is such a text; else return it unchanged."""
    codec = _utf_16(head)
    return head.decode(codec, "ignore").encode("utf-8", "ignore") if codec else head


def _utf_16(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Without a mark: in ASCII text, every second byte is zero.
    begin = head[:64]
    zeros_at = [begin[place::2].count(0) * 3 > len(begin) for place in (0, 1)]
    if zeros_at == [False, True] and 0 not in begin[::2]:
        return "utf-16-le"
    return "utf-16-be" if zeros_at == [True, False] and 0 not in begin[1::2] else None
