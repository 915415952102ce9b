"""Read what the bucket of a running Autos holds."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote, urlsplit

from minio import Minio

from tests.sandbox.court_cases.case_model import SandboxDocument
from tests.sandbox.court_cases.document_bytes import chunks
from tests.system.running_autos import Autos

_DISPOSITION = re.compile(
    r'attachment; filename="(?P<plain>[ -!#-.0-\[\]-~]+)"; '
    r"filename\*=UTF-8''(?P<extended>[!-~]+)"
)


class StoredBucket:
    """Reads the bucket through S3's own protocol, without Autos."""

    def __init__(self, autos: Autos) -> None:
        env = autos.stack.env
        self._name = env["S3_BUCKET"]
        self._client = Minio(
            urlsplit(env["S3_ENDPOINT_URL"]).netloc,
            access_key=env["S3_ACCESS_KEY_ID"],
            secret_key=env["S3_SECRET_ACCESS_KEY"],
            secure=False,
            region=env["S3_REGION"],
        )

    def keys_of_case(self, number: str, prefix: str = "") -> set[str]:
        """Return every key under a case's folder for an Autos with this S3_PREFIX."""
        digits = "".join(c for c in number if c.isdigit())
        folder = f"{prefix}default/processos/{digits}/"
        found = self._client.list_objects(self._name, prefix=folder, recursive=True)
        return {str(each.object_name) for each in found}

    def remove(self, key: str) -> None:
        """Delete an object, as a bucket that loses it would."""
        self._client.remove_object(self._name, key)

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of an object's stored bytes."""
        answer = self._client.get_object(self._name, key)
        digest = hashlib.sha256()
        try:
            for chunk in answer.stream(1024 * 1024):
                digest.update(chunk)
        finally:
            answer.close()
            answer.release_conn()
        return digest.hexdigest()

    def file_names(self, key: str) -> tuple[str, str]:
        """Return the file names that an old and a current browser would use (RFC 6266)."""
        metadata = self._client.stat_object(self._name, key).metadata or {}
        match = _DISPOSITION.fullmatch(metadata["Content-Disposition"])
        assert match, metadata["Content-Disposition"]
        return match["plain"], unquote(match["extended"], errors="strict")

    def content_type(self, key: str) -> str | None:
        """Return the Content-Type that the bucket sends."""
        return self._client.stat_object(self._name, key).content_type


def sandbox_sha256(document: SandboxDocument) -> str:
    """Return the SHA-256 of the bytes that the sandbox generates for a document."""
    digest = hashlib.sha256()
    for chunk in chunks(document.kind, document.uuid, document.size_bytes):
        digest.update(chunk)
    return digest.hexdigest()
