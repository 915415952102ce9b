"""The bucket: documents under keys that contain their hash, and URLs to read them."""

from __future__ import annotations

import base64
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import structlog
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.signer import sign_v4_s3
from minio.time import to_amz_date

from storage.errors import LeaseLost, ServiceUnavailable, StoreRefused
from storage.http.connections import inspected_pools
from storage.objects.role_keys import RoleKeys
from storage.objects.store_errors import ALTERED, Answer, StoreRefusal, altered, refusal, translated
from storage.refusals import STORE, RefusalWatch
from storage.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONNECT_S, SILENCE_S = 5.0, 60.0
# Keys are locked meanwhile, and other transactions may wait for them.
DELETE_S = 20.0
# How many bytes of a file are sent at once.
BLOCK_BYTES = 128 * 1024
PARALLEL_HEADS = 16
NAME_CAP = 200
# The part of every key between the case and its documents.
FOLDER = "/documentos/"
# The bucket may be shared: no other object in it is ever changed.
OUR_KEY = re.compile(r"[^/]+/processos/\d{20}/documentos/[0-9a-f-]{36}/[0-9a-f]{16}\.\w+")
# The answers of the portal about a case.
ANSWER_KEY = re.compile(r"[^/]+/listagens/\d{20}/[0-9a-f]{64}\.json")
# The codes that stores answer to If-None-Match: for an object that exists (or is being written),
# and for a header that they do not support.
EXISTS = {"PreconditionFailed", "ConditionalRequestConflict"}
UNKNOWN_TO_STORE = {"NotImplemented"}
# A store may have no request that deletes several objects.
NO_SUCH_OPERATION = {400, 405, 501}
# The object that names the bucket's installation. `release` writes it, so it exists.
MARK = "autos-installation"
PROBE = "autos-probe"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The address of the bucket. `public_url` is the endpoint in presigned URLs."""

    endpoint_url: str
    public_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    bucket: str
    region: str
    # The prefix of every key that is made, empty or with a slash at its end.
    prefix: str = ""
    # The certificate authorities that may sign the endpoint's certificate; None: those of urllib3.
    ca_file: Path | None = None
    # The keys, if they change by themselves: those of a role. None: the two above.
    keys: Provider | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> ObjectStore:
        """Return the store that the settings name."""
        return cls(
            endpoint_url=settings.s3_endpoint_url,
            public_url=settings.s3_public_endpoint_url,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key,
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            ca_file=settings.s3_ca_file,
            keys=RoleKeys(settings.s3_sts_url) if settings.s3_credentials == "role" else None,
            session_token=settings.s3_session_token,
        )

    @property
    def tls(self) -> dict[str, Any]:
        """Return the options of urllib3's pools for certificates."""
        return {"ca_certs": str(self.ca_file)} if self.ca_file else {}

    def credentials(self) -> Credentials:
        """Return the keys that sign a request now. Raises ServiceUnavailable if a role has none."""
        if self.keys is not None:
            return self.keys.retrieve()
        return Credentials(self.access_key_id, self.secret_access_key, self.session_token)

    def client(self, url: str, http: urllib3.PoolManager | None = None) -> Minio:
        """Return a client of this store under `url`."""
        parts = urlsplit(url)
        return Minio(
            endpoint=parts.netloc,
            credentials=_Keys(self.credentials),
            secure=parts.scheme == "https",
            region=self.region,  # without it every bucket costs a look-up
            http_client=http,
        )


class _Keys(Provider):
    """The keys of an ObjectStore, in the form that minio takes."""

    def __init__(self, retrieve: Callable[[], Credentials]) -> None:
        self._retrieve = retrieve

    def retrieve(self) -> Credentials:
        """Return the keys that sign a request now."""
        return self._retrieve()


@dataclass(frozen=True, slots=True)
class BucketObject:
    """An object that looks like a document, and the time at which S3 stored it."""

    key: str
    stored_time: datetime


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


class _Wanted:
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


class Objects:
    """The bucket's operations. Thread-safe. Open it after a fork."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_connections: int,
        watch: RefusalWatch | None = None,
        delete_s: float = DELETE_S,
    ) -> None:
        """Open the bucket.

        `watch` logs and publishes refusals; without one they are only logged. `delete_s`: the time
        limit of a deletion in seconds.
        """
        self._store = store
        self._watch = watch or RefusalWatch(STORE)
        self._lacks: set[str] = set()
        self._takes_checksum = True
        self._http = inspected_pools(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
            maxsize=max(max_connections, PARALLEL_HEADS),
            blocksize=BLOCK_BYTES,
            **store.tls,
            retries=urllib3.Retry(
                total=2,
                backoff_factor=0.1,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                redirect=0,
                # The header may ask for hours, and a lease would be renewed all that time.
                respect_retry_after_header=False,
            ),
        )
        # Looked up once: a look-up by URL costs a tenth of the time of a small file's upload.
        self._pool = self._http.connection_from_url(store.endpoint_url)
        self._minio = store.client(store.endpoint_url, self._http)
        self._deleting = store.client(
            store.endpoint_url,
            inspected_pools(timeout=urllib3.Timeout(total=delete_s), retries=False, **store.tls),
        )
        self._public = store.client(store.public_url)
        self._heads = ThreadPoolExecutor(PARALLEL_HEADS, thread_name_prefix="head")

    @property
    def prefix(self) -> str:
        """Return the prefix of every key that Autos makes; it may be empty."""
        return self._store.prefix

    @property
    def place(self) -> str:
        """Return bucket and prefix, for the beginning of a sentence."""
        under = f" under {self._store.prefix}" if self._store.prefix else ""
        return f"The bucket {self._store.bucket}{under}"

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        """Translate the errors of an operation, and log refusals and outages."""
        try:
            with translated(operation):
                yield
        except ServiceUnavailable as error:
            self._watch.failed(operation, error)
            raise
        self._watch.succeeded(operation)

    def _note(self, step: str, error: Answer | StoreRefused) -> None:
        """Log once that the store lacks an operation of other stores; work continues without it."""
        if step not in self._lacks:
            self._lacks.add(step)
            refused = error if isinstance(error, StoreRefused) else StoreRefusal.of(error)
            log.warning("store lacks a step", step=step, code=refused.code, answer=refused.answer)

    def ensure_bucket(self) -> bool:
        """Create the bucket if it is missing. Return whether it was missing.

        A store may refuse to answer whether there is a bucket, and accept files all the same.
        """
        with self._asking("bucket"):
            try:
                if self._minio.bucket_exists(self._store.bucket):
                    return False
            except (S3Error, ServerError) as error:
                if not StoreRefusal.of(error).is_final:
                    raise
                self._note("HEAD bucket", error)
                return False
            try:
                self._minio.make_bucket(self._store.bucket, location=self._store.region)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise
                return False
        return True

    def put(self, upload: Upload) -> None:
        """Store a file. The store refuses bytes that do not match `sha256`.

        One PUT, whatever the size (S3 accepts 5 GiB in one), read from the disk as it is sent:
        parts would have to be hashed again. Raises ServiceUnavailable if S3 is unavailable,
        TransientError("CORRUPT") if the file has changed, FileNotFoundError if it is gone,
        LeaseLost if it is no longer wanted.
        """
        if isinstance(upload.source, bytes):
            with self._asking("PUT"):
                self._put_whole(upload, upload.source)
            return
        with upload.source.open("rb") as file, self._asking("PUT"):
            # A power failure may truncate the file. The store would wait for the rest.
            if os.fstat(file.fileno()).st_size != upload.size_bytes:
                raise altered()
            # urllib3 needs only these methods of a file.
            self._put_whole(upload, cast("IO[bytes]", _Wanted(file, upload.is_wanted)))

    def _put_whole(self, upload: Upload, body: IO[bytes] | bytes) -> None:
        refused = self._refusal_of(upload, body, has_checksum=self._takes_checksum)
        if self._takes_checksum and _may_be_checksum(refused):
            if not isinstance(body, bytes):
                body.seek(0)
            again = self._refusal_of(upload, body, has_checksum=False)
            if again is None and refused is not None:
                self._takes_checksum = False
                self._note("x-amz-checksum-sha256", refused)
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
            "x-amz-meta-sha256": upload.sha256,
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
        return None if answer.status == 200 else refusal(answer)

    def present(self, sizes: Mapping[str, int], *, limit_s: float | None = None) -> set[str]:
        """Return those of the keys that the bucket holds with the given size in bytes.

        Raises ServiceUnavailable if S3 is unavailable or did not answer within `limit_s` seconds.
        """
        is_many = len(sizes) > PARALLEL_HEADS and all(FOLDER in key for key in sizes)
        if is_many and "LIST" not in self._lacks:
            try:
                return _within(limit_s, self._heads.submit(self._listed, sizes))
            except StoreRefused as error:
                self._note("LIST", error)
        found = self._heads.map(
            lambda key: self._size_of(key) == sizes[key], sizes, timeout=limit_s
        )
        try:
            return {key for key, is_there in zip(sizes, found, strict=True) if is_there}
        except TimeoutError as error:
            raise ServiceUnavailable("S3") from error

    def _listed(self, sizes: Mapping[str, int]) -> set[str]:
        """Return those of the keys that the bucket holds with the given size, by listing their
        folders.

        One request replaces hundreds.
        """
        folders = {key.rpartition(FOLDER)[0] + FOLDER for key in sizes}
        there = set()
        with self._asking("LIST"):
            for folder in folders:
                for item in self._minio.list_objects(self._store.bucket, folder, recursive=True):
                    if sizes.get(str(item.object_name)) == item.size:
                        there.add(str(item.object_name))
        return there

    def _size_of(self, key: str) -> int | None:
        with self._asking("HEAD"):
            try:
                return self._minio.stat_object(self._store.bucket, key).size
            except S3Error as error:
                if error.code in {"NoSuchKey", "NoSuchBucket"}:
                    return None
                # Without s3:ListBucket, S3 answers so for a missing object.
                if error.code == "AccessDenied" and self._can_see_mark():
                    self._note("404 for a missing object", error)
                    return None
                raise

    def _can_see_mark(self) -> bool:
        try:
            self._minio.stat_object(self._store.bucket, self.prefix + MARK)
        except S3Error:
            return False
        return True

    def documents(self) -> Iterator[BucketObject]:
        """Return the objects below the prefix with keys in the form of a document's key."""
        return self._with_keys(OUR_KEY)

    def answers(self) -> Iterator[BucketObject]:
        """Return the objects below the prefix with keys in the form of an answer's key."""
        return self._with_keys(ANSWER_KEY)

    def _with_keys(self, form: re.Pattern[str]) -> Iterator[BucketObject]:
        with self._asking("LIST"):
            for item in self._minio.list_objects(
                self._store.bucket, prefix=self.prefix, recursive=True
            ):
                key, stored = str(item.object_name), item.last_modified
                if stored is not None and form.fullmatch(key, len(self.prefix)):
                    yield BucketObject(key, stored)

    def read(self, key: str) -> bytes | None:
        """Return the content of a small object, None if there is none."""
        with self._asking("GET"):
            try:
                answer = self._minio.get_object(self._store.bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise
            try:
                return answer.data
            finally:
                answer.release_conn()

    def parts(self, key: str, size: int) -> Iterator[bytes]:
        """Yield the content of an object in parts of up to `size` bytes.

        Raises ServiceUnavailable, also if the object is gone.
        """
        with self._asking("GET"):
            answer = self._minio.get_object(self._store.bucket, key)
            try:
                yield from answer.stream(size)
            finally:
                answer.close()
                answer.release_conn()

    def write(self, key: str, data: bytes, *, is_new: bool = False) -> None:
        """Write a small object. With `is_new`, an existing object does not change.

        A store without If-None-Match may replace it: read the object afterwards.
        """
        headers: dict[str, str | list[str] | tuple[str]] = {"If-None-Match": "*"} if is_new else {}
        with self._asking("PUT"):
            try:
                # minio's own call does not pass the header on.
                self._minio._execute("PUT", self._store.bucket, key, body=data, headers=headers)
            except S3Error as error:
                if not is_new or error.code not in {*EXISTS, *UNKNOWN_TO_STORE}:
                    raise
                if error.code in UNKNOWN_TO_STORE:
                    self.write(key, data)

    def stored_time(self, key: str) -> datetime:
        """Return when S3 stored an object, by the clock of S3."""
        with self._asking("HEAD"):
            stored = self._minio.stat_object(self._store.bucket, key).last_modified
        if stored is None:
            raise ServiceUnavailable("S3")
        return stored

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects. A missing object is no error. One attempt, of DELETE_S seconds at most.

        Raises ServiceUnavailable; in that case some of the objects may be gone.
        """
        with self._asking("DELETE"):
            if "DELETE of many" in self._lacks or not self._deleted_together(keys):
                for key in keys:
                    self._deleting.remove_object(self._store.bucket, key)

    def _deleted_together(self, keys: Sequence[str]) -> bool:
        """Delete objects with one request. Return False if the store has no such request."""
        deletions = [DeleteObject(key) for key in keys]
        try:
            for error in self._deleting.remove_objects(self._store.bucket, deletions):
                if error.code != "NoSuchKey":
                    raise StoreRefused("DELETE", error.code, error.message or "")
        except (S3Error, ServerError, InvalidResponseError) as error:
            if StoreRefusal.of(error).status not in NO_SUCH_OPERATION:
                raise
            self._note("DELETE of many", error)
            return False
        return True

    def probe(self) -> None:
        """Put, head, get and delete an object. Raises StoreRefused, ServiceUnavailable."""
        data, key = b"%b\n" % uuid4().hex.encode(), f"{self.prefix}{PROBE}-{uuid4()}"
        self.put(Upload(data, key, len(data), sha256(data).hexdigest(), "text/plain", "probe.txt"))
        if self._size_of(key) != len(data):
            raise StoreRefused("HEAD", "NotThere", "the object's size is wrong")
        if self.read(key) != data:
            raise StoreRefused("GET", "NotThere", "the object's bytes are wrong")
        self.delete([key])

    def url(self, key: str, *, lifetime_s: int) -> tuple[str, datetime]:
        """Return a presigned GET URL and the time at which it expires. Sends no request."""
        expires = timedelta(seconds=lifetime_s)
        now = datetime.now(UTC).replace(microsecond=0)
        url = self._public.presigned_get_object(
            self._store.bucket, key, expires=expires, request_date=now
        )
        return url, now + expires


def _within(limit_s: float | None, result: Future[set[str]]) -> set[str]:
    try:
        return result.result(limit_s)
    except TimeoutError as error:
        raise ServiceUnavailable("S3") from error


def _may_be_checksum(refused: S3Error | ServerError | None) -> bool:
    """Return whether the store may have refused a file because of its checksum header."""
    if refused is None:
        return False
    found = StoreRefusal.of(refused)
    # A gateway that removes an unknown header invalidates the signature over it.
    is_unknown = found.status in (400, 501) or found.code == "SignatureDoesNotMatch"
    return is_unknown and found.code not in ALTERED


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
