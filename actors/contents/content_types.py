"""The type of a file: by its first bytes (magic.py), else by its declared types. Pure.

The order of trust (docs/reference/portal.md): magic bytes, Content-Type, `arquivo.tipo`, `nome`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from actors.contents.magic import (
    EML,
    GIF,
    HTML,
    JPEG,
    OLE,
    PDF,
    PKCS7,
    PNG,
    RTF,
    XML,
    ZIP,
    by_magic,
    has_control,
    is_late_pdf,
)

TEXT, JSON, BINARY = "text/plain", "application/json", "application/octet-stream"

EXTENSIONS = {
    PDF: "pdf",
    RTF: "rtf",
    HTML: "html",
    XML: "xml",
    JSON: "json",
    TEXT: "txt",
    "text/csv": "csv",
    EML: "eml",
    PNG: "png",
    JPEG: "jpg",
    GIF: "gif",
    "image/tiff": "tif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/jp2": "jp2",
    "image/heic": "heic",
    ZIP: "zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.etsi.asic-e+zip": "asice",
    "application/vnd.etsi.asic-s+zip": "asics",
    OLE: "ole",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-outlook": "msg",
    PKCS7: "p7s",
    "application/pkcs7-mime": "p7m",
    "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z",
    "application/gzip": "gz",
    "application/x-bzip2": "bz2",
    "application/x-xz": "xz",
    "application/zstd": "zst",
    "application/x-tar": "tar",
    "application/vnd.ms-cab-compressed": "cab",
    "application/postscript": "ps",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/3gpp": "3gp",
    "video/mpeg": "mpg",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
    "video/x-flv": "flv",
    "video/x-ms-asf": "wmv",
}
_TYPES = {
    **{extension: mime for mime, extension in EXTENSIONS.items()},
    "htm": HTML,
    "jpeg": JPEG,
    "tiff": "image/tiff",
    "mpeg": "video/mpeg",
    "jfif": JPEG,
    "jp2": "image/jp2",
    "docm": "application/vnd.ms-word.document.macroenabled.12",
    "xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    "ppsx": "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
    "dwg": "image/vnd.dwg",
    "m4v": "video/x-m4v",
    "wma": "audio/x-ms-wma",
    "opus": "audio/opus",
}
_ALIASES = {
    "text/richtext": RTF,
    "text/rtf": RTF,
    "application/x-rtf": RTF,
    "application/xhtml+xml": HTML,
    "application/x-pdf": PDF,
    "application/x-zip-compressed": ZIP,
    "application/x-pkcs7-signature": PKCS7,
    "application/x-pkcs7-mime": "application/pkcs7-mime",
    "application/x-rar-compressed": "application/vnd.rar",
    "application/x-gzip": "application/gzip",
    "image/jpg": JPEG,
    "text/xml": XML,
    "text/json": JSON,
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "application/ogg": "audio/ogg",
}
# Types that servers send for unknown content.
_SAYS_NOTHING = frozenset(
    {BINARY, "binary/octet-stream", "application/x-download", "application/force-download"}
)
# The types of a container that magic bytes cannot distinguish.
_CONTAINED = {
    ZIP: frozenset({"docx", "xlsx", "pptx", "odt", "ods", "asice", "asics"}),
    OLE: frozenset({"doc", "xls", "ppt", "msg"}),
    PKCS7: frozenset({"p7s", "p7m"}),
}
# Every file of these types shows its type in its first bytes. Other content has none of them.
_SHOWN = frozenset({PDF, RTF, PNG, JPEG, GIF, ZIP})


def stated_type(mime: str | None) -> str | None:
    """Return a declared MIME type under its usual name, without parameters; None if it is generic.

    `mime` is in lower case.
    """
    essence = (mime or "").partition(";")[0]
    if not essence or essence in _SAYS_NOTHING:
        return None
    return _ALIASES.get(essence, essence)


def by_name(name: str) -> str | None:
    """Return the MIME type that the extension of a name suggests."""
    return _TYPES.get(PurePosixPath(name).suffix.lower().removeprefix("."))


def is_shown(mime: str | None) -> bool:
    """Return whether every file of this type shows it in its first bytes."""
    return mime in _SHOWN or EXTENSIONS.get(mime or "") in _CONTAINED[ZIP]


def is_textual(mime: str) -> bool:
    """Return whether a type is a type of text."""
    return (
        mime.startswith(("text/", "message/", "multipart/"))
        or mime in (XML, JSON)
        or mime.endswith(("+xml", "+json"))
    )


def decide(head: bytes, *claims: str | None) -> tuple[str, str]:
    """Return the MIME type and the extension (without dot) of a file that begins with `head`.

    `claims` are the declared types, the most trusted first.
    """
    claimed = [claim for claim in claims if claim]
    proven = by_magic(head)
    if proven is None and is_late_pdf(head) and (PDF in claimed or not claimed):
        proven = PDF
    if proven in _CONTAINED:
        claimed = [c for c in claimed if EXTENSIONS.get(c) in _CONTAINED[proven]]
        # An OLE2 file without a declared type is usually a Word document.
        mime = claimed[0] if claimed else "application/msword" if proven == OLE else proven
    else:
        mime = proven or _by_claims(head, claimed)
    return mime, EXTENSIONS.get(mime, "bin")


def _by_claims(head: bytes, claimed: list[str]) -> str:
    is_binary = has_control(head)
    fitting = (c for c in claimed if not is_shown(c) and not (is_binary and is_textual(c)))
    return next(fitting, BINARY if is_binary else TEXT)
