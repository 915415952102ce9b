"""The bucket: documents under keys that contain their hash, and URLs to read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import IO, cast
from uuid import uuid4

from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import S3Error, ServerError

from storage.errors import ServiceUnavailable, StoreRefused
from storage.objects.object_names import ANSWER_KEY, FOLDER, MARK, OUR_KEY, PROBE
from storage.objects.store_address import ObjectStore
from storage.objects.store_connection import (
    DELETE_S,
    PARALLEL_HEADS,
    StoreConnection,
    StoreRefusal,
    altered,
)
from storage.objects.uploads import Upload, UploadSender, WantedFile
from storage.refusals import RefusalWatch

# The codes that stores answer to If-None-Match for an object that exists or is being written, and
# the statuses for a header that they do not support.
EXISTS = {"PreconditionFailed", "ConditionalRequestConflict"}
NOT_SUPPORTED = {400, 501}
# The code for a listing that returns its first portion in place of the next one.
NOT_CONTINUED = "NOT_CONTINUED"
# A store may have no request that deletes several objects.
NO_SUCH_OPERATION = {400, 405, 501}


@dataclass(frozen=True, slots=True)
class BucketObject:
    """An object that looks like a document, and the time at which S3 stored it."""

    key: str
    stored_time: datetime


class Objects(StoreConnection):
    """The bucket's operations. Thread-safe. Open it after a fork."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_connections: int,
        watch: RefusalWatch | None = None,
        delete_s: float = DELETE_S,
    ) -> None:
        """Open the bucket. The arguments are those of StoreConnection."""
        super().__init__(store, max_connections=max_connections, watch=watch, delete_s=delete_s)
        self._uploads = UploadSender(store, self._http, self._note)
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
                self._uploads.send(upload, upload.source)
            return
        with upload.source.open("rb") as file, self._asking("PUT"):
            # A power failure may truncate the file. The store would wait for the rest.
            if os.fstat(file.fileno()).st_size != upload.size_bytes:
                raise altered()
            # urllib3 needs only these methods of a file.
            self._uploads.send(upload, cast("IO[bytes]", WantedFile(file, upload.is_wanted)))

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
                for item in self._items(folder):
                    if sizes.get(str(item.object_name)) == item.size:
                        there.add(str(item.object_name))
        return there

    def _items(self, prefix: str) -> Iterator[Object]:
        """Return the objects with a prefix. A store that does not continue a listing repeats it."""
        first = None
        for item in self._minio.list_objects(self._store.bucket, prefix=prefix, recursive=True):
            if first is not None and item.object_name == first:
                raise StoreRefused("LIST", NOT_CONTINUED, "The listing begins again.")
            first = first or item.object_name
            yield item

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
            for item in self._items(self.prefix):
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
            except (S3Error, ServerError) as error:
                if not is_new:
                    raise
                refused = StoreRefusal.of(error)
                if refused.code in EXISTS or refused.status == HTTPStatus.PRECONDITION_FAILED:
                    return
                # A gateway that removes the header invalidates the signature over it.
                if refused.status not in NOT_SUPPORTED and refused.code != "SignatureDoesNotMatch":
                    raise
                self._minio._execute("PUT", self._store.bucket, key, body=data)
                self._note("If-None-Match", error)

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
                    self._delete_alone(key)

    def _delete_alone(self, key: str) -> None:
        try:
            self._deleting.remove_object(self._store.bucket, key)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise

    def _deleted_together(self, keys: Sequence[str]) -> bool:
        """Delete objects with one request. Return False if the store has no such request."""
        deletions = [DeleteObject(key) for key in keys]
        try:
            for error in self._deleting.remove_objects(self._store.bucket, deletions):
                if error.code != "NoSuchKey":
                    raise StoreRefused("DELETE", error.code, error.message or "")
        except (S3Error, ServerError) as error:
            if StoreRefusal.of(error).status not in NO_SUCH_OPERATION:
                raise
            self._note("DELETE of many", error)
            return False
        return True

    def probe(self) -> None:
        """Put, head, get and delete an object. Raises StoreRefused, ServiceUnavailable."""
        data, key = b"%b\n" % uuid4().hex.encode(), f"{self.prefix}{PROBE}-{uuid4()}"
        self.put(Upload(data, key, len(data), sha256(data).hexdigest(), "text/plain", "probe.txt"))
        try:
            if self._size_of(key) != len(data):
                raise StoreRefused("HEAD", "NotThere", "the object's size is wrong")
            if self.read(key) != data:
                raise StoreRefused("GET", "NotThere", "the object's bytes are wrong")
        except ServiceUnavailable:
            with suppress(ServiceUnavailable):
                self.delete([key])
            raise
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
