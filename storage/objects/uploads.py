"""One signed PUT of a file, whose bytes the store compares with their known hash."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import quote, urlsplit

import urllib3
from minio.error import S3Error, ServerError
from minio.signer import sign_v4_s3
from minio.time import to_amz_date

from storage.errors import LeaseLost
from storage.objects.object_names import content_disposition
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import ALTERED, Answer, StoreRefusal, refusal

NOT_STORED = "The answer has a body, and there is no such object."
_SHA256 = "x-amz-meta-sha256"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to be stored: its path or its content, and what is recorded about it.

    `is_wanted` is called before each block of a file; if it returns False, the upload ends.
    `limit_s`: one attempt of so many seconds at most; None: the usual retries and timeouts.
    """

    source: Path | bytes
    key: str
    size_bytes: int
    sha256: str
    content_type: str
    name: str
    is_wanted: Callable[[], bool] = lambda: True
    limit_s: float | None = None


class WantedFile:
    """A file that is readable while it is wanted. After that, a read breaks its request off."""

    def __init__(self, file: BinaryIO, is_wanted: Callable[[], bool]) -> None:
        self._file = file
        self._is_wanted = is_wanted

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises LeaseLost."""
        if not self._is_wanted():
            raise LeaseLost("This upload is no longer wanted.")
        return self._file.read(size)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def seek(self, place: int) -> int:
        """Seek back, because a request is sent again."""
        return self._file.seek(place)


class UploadSender:
    """Sends files to the store. Thread-safe.

    `note_lack` is called with what the store lacks, and with its answer.
    """

    def __init__(
        self,
        store: ObjectStore,
        http: urllib3.PoolManager,
        note_lack: Callable[[str, Answer], None],
    ) -> None:
        self._store = store
        self._http = http
        # Looked up once: a look-up by URL costs a tenth of the time of a small file's upload.
        self._pool = http.connection_from_url(store.endpoint_url)
        self._note_lack = note_lack
        self._takes_checksum = True

    def send(self, upload: Upload, body: IO[bytes] | bytes) -> None:
        """Store a file with one PUT. Raises the store's error if it does not accept the file."""
        refused = self._refusal_of(upload, body, has_checksum=self._takes_checksum)
        if self._takes_checksum and _may_be_checksum(refused):
            if not isinstance(body, bytes):
                body.seek(0)
            again = self._refusal_of(upload, body, has_checksum=False)
            if again is None and refused is not None:
                self._takes_checksum = False
                self._note_lack("x-amz-checksum-sha256", refused)
            refused = again and refused
        if refused is not None:
            raise refused

    def _refusal_of(
        self, upload: Upload, body: IO[bytes] | bytes, *, has_checksum: bool
    ) -> S3Error | ServerError | None:
        """Send a file. Return the store's error if it did not accept the file."""
        # minio's own call would hash the bytes again (or leave them unsigned over TLS). Their
        # SHA-256 is known from the download, and the store is to check exactly that hash.
        url = urlsplit(f"{self._store.endpoint_url}/{self._store.bucket}/{quote(upload.key)}")
        date = datetime.now(UTC)
        headers = {
            "Host": url.netloc,
            "Content-Length": str(upload.size_bytes),
            "Content-Type": upload.content_type,
            "Content-Disposition": content_disposition(upload.name),
            _SHA256: upload.sha256,
            "x-amz-content-sha256": upload.sha256,
            "x-amz-date": to_amz_date(date),
        }
        if has_checksum:
            # SeaweedFS does not compare the signed hash with the body, but it does compare this
            # one.
            checksum = base64.b64encode(bytes.fromhex(upload.sha256)).decode()
            headers["x-amz-checksum-sha256"] = checksum
        keys = self._store.credentials()
        if keys.session_token:
            headers["X-Amz-Security-Token"] = keys.session_token
        signed = sign_v4_s3(
            method="PUT",
            url=url,
            region=self._store.region,
            headers=dict(headers),
            credentials=keys,
            content_sha256=upload.sha256,
            date=date,
        )
        sent = {name: str(value) for name, value in signed.items()}
        hurry: dict[str, Any] = {}
        if upload.limit_s is not None:
            hurry = {"timeout": urllib3.Timeout(total=upload.limit_s), "retries": False}
        answer = self._pool.urlopen(
            "PUT", url.path, body=body, headers=sent, redirect=False, **hurry
        )
        if answer.status != 200:
            return refusal(answer)
        # S3 answers without a body. The page of a proxy proves nothing, also if it has an ETag.
        is_stored = not answer.data or self._is_stored(upload)
        return None if is_stored else ServerError(NOT_STORED, 200)

    def _is_stored(self, upload: Upload) -> bool:
        """Return whether the store has the object of an upload, with its size and its hash."""
        client = self._store.client(self._store.endpoint_url, self._http)
        try:
            found = client.stat_object(self._store.bucket, upload.key)
        except (S3Error, ServerError, ValueError):
            return False
        stored = (found.metadata or {}).get(_SHA256)
        return (found.size, stored) == (upload.size_bytes, upload.sha256)


def _may_be_checksum(refused: S3Error | ServerError | None) -> bool:
    """Return whether the store may have refused a file because of its checksum header."""
    if refused is None:
        return False
    found = StoreRefusal.of(refused)
    # A gateway that removes an unknown header invalidates the signature over it.
    is_unknown = found.status in (400, 501) or found.code == "SignatureDoesNotMatch"
    return is_unknown and found.code not in ALTERED
