"""What a file is: by its first bytes, else by what is said about it.

The order of trust is PDPJ.md's: magic bytes, Content-Type, `arquivo.tipo`, `nome`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

PDF, RTF, HTML, ZIP, OLE = (
    "application/pdf",
    "application/rtf",
    "text/html",
    "application/zip",
    "application/x-ole-storage",
)
PNG, JPEG, TEXT, BINARY = "image/png", "image/jpeg", "text/plain", "application/octet-stream"

EXTENSIONS = {
    PDF: "pdf",
    RTF: "rtf",
    HTML: "html",
    "application/xml": "xml",
    TEXT: "txt",
    PNG: "png",
    JPEG: "jpg",
    "image/gif": "gif",
    "image/tiff": "tif",
    "image/webp": "webp",
    ZIP: "zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    OLE: "ole",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-outlook": "msg",
    "application/pkcs7-signature": "p7s",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-ms-asf": "wmv",
}
_TYPES = {
    **{extension: mime for mime, extension in EXTENSIONS.items()},
    "htm": HTML,
    "jpeg": JPEG,
    "tiff": "image/tiff",
}
_ALIASES = {
    "text/richtext": RTF,
    "text/rtf": RTF,
    "application/x-rtf": RTF,
    "application/xhtml+xml": HTML,
    "application/x-pdf": PDF,
    "application/x-zip-compressed": ZIP,
    "image/jpg": JPEG,
    "text/xml": "application/xml",
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "application/ogg": "audio/ogg",
}
# Said by servers that do not know.
_SAYS_NOTHING = frozenset(
    {BINARY, "binary/octet-stream", "application/x-download", "application/force-download"}
)
# What may be inside of a container that magic bytes do not tell apart.
_CONTAINED = {
    ZIP: frozenset({"docx", "xlsx", "pptx", "odt", "ods"}),
    OLE: frozenset({"doc", "xls", "ppt", "msg"}),
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF-", PDF),
    (rb"\{\\rtf", RTF),
    (rb"\x89PNG\r\n\x1a\n", PNG),
    (rb"\xff\xd8\xff", JPEG),
    (rb"GIF8[79]a", "image/gif"),
    (rb"II[*+]\0|MM\0[*+]", "image/tiff"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"PK\x03\x04|PK\x05\x06", ZIP),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (rb"....ftyp", "video/mp4"),
    (rb"OggS\0", "audio/ogg"),
    (rb"ID3[\x02-\x04]|\xff[\xfb\xf3\xf2]", "audio/mpeg"),
    (rb"\x1a\x45\xdf\xa3", "video/webm"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
)
_SIGNATURES = tuple((re.compile(pattern, re.DOTALL), mime) for pattern, mime in _MAGIC)
_ODF = re.compile(rb"PK\x03\x04.{26}mimetype(application/vnd\.oasis\.opendocument\.[a-z]+)", re.S)
# A byte order mark, white space, comments and an XML declaration may come before the first tag.
# Possessive (*+): what has been skipped is never looked at in another way.
_PREAMBLE = rb"(?:\xef\xbb\xbf)?(?:\s|<!--.{0,4096}?-->|<\?xml[^>]{0,200}\?>)*+"
_PAGE = re.compile(_PREAMBLE + rb"<(?:!doctype\s+html|html|head|body)\b", re.S | re.I)
_FRAGMENT = re.compile(
    _PREAMBLE + rb"<(?:div|p|span|table|b|i|u|br|hr|center|font|h[1-6]|style|meta|title|section"
    rb"|article|ul|ol|img|a|strong|em|pre|form|link|script|blockquote)[\s/>]",
    re.S | re.I,
)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def is_html_page(head: bytes) -> bool:
    """Whether a whole HTML page begins here, not a fragment."""
    return _PAGE.match(head) is not None


def by_magic(head: bytes) -> str | None:
    """The MIME type that the first bytes prove."""
    for pattern, mime in _SIGNATURES:
        if pattern.match(head):
            odf = _ODF.match(head)
            return odf[1].decode() if odf else mime
    if is_html_page(head) or _FRAGMENT.match(head):
        return HTML
    if _XML.match(head):
        return "application/xml"
    return PDF if b"%PDF-" in head[:1024] else None


def said(mime: str | None) -> str | None:
    """A MIME type as somebody says it, under its usual name; None when it says nothing."""
    if not mime or mime in _SAYS_NOTHING:
        return None
    return _ALIASES.get(mime, mime)


def by_name(name: str) -> str | None:
    """The MIME type that the extension of a name suggests."""
    return _TYPES.get(PurePosixPath(name).suffix.lower().removeprefix("."))


def decide(head: bytes, *claims: str | None) -> tuple[str, str]:
    """The MIME type and the extension (without dot) of a file that begins with `head`.

    `claims` are what is said about it, the most trusted first.
    """
    proven = by_magic(head)
    told = [claim for claim in claims if claim]
    if proven in _CONTAINED:
        told = [c for c in told if EXTENSIONS.get(c) in _CONTAINED[proven]]
        # An OLE2 file of which nobody says more is a Word document as a rule.
        mime = told[0] if told else "application/msword" if proven == OLE else proven
    else:
        mime = proven or next(iter(told), BINARY if _CONTROL.search(head) else TEXT)
    return mime, EXTENSIONS.get(mime, "bin")
