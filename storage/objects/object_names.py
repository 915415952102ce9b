"""The keys of objects, and the names under which browsers save documents."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote
from uuid import UUID

NAME_CAP = 200
# The folder of the cases in the folder of a client.
CASES = "processos"
# The part of every key between the case and its documents.
FOLDER = "/documentos/"
# The bucket may be shared: no other object in it is ever changed.
OUR_KEY = re.compile(r"[^/]+/processos/\d{20}/documentos/[0-9a-f-]{36}/[0-9a-f]{16}\.\w+")
# The answers of the portal about a case.
ANSWER_KEY = re.compile(r"[^/]+/listagens/\d{20}/[0-9a-f]{64}\.json")
# The object that names the bucket's installation. `release` writes it, so it exists.
MARK = "autos-installation"
PROBE = "autos-probe"


def object_key(
    client: str, process_number: str, document_id: UUID, sha256: str, extension: str
) -> str:
    """Return the key of a document. The key contains the hash, so other bytes get another key."""
    digits = "".join(c for c in process_number if c.isdigit())
    return f"{client}/processos/{digits}/documentos/{document_id}/{sha256[:16]}.{extension}"


def content_disposition(name: str) -> str:
    """Return the court's name of a document as a header value (RFC 6266, RFC 8187).

    The name is cut to NAME_CAP characters, because S3 refuses an upload with headers above 8 KB.
    """
    name = name[:NAME_CAP]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = "".join(c if c.isalnum() or c in " .-_()" else "_" for c in plain)
    # A store may fold spaces before it checks the signature, which covers all of them.
    safe = " ".join(safe.split()) or "document"
    return f"attachment; filename=\"{safe}\"; filename*=UTF-8''{quote(name, safe='')}"
