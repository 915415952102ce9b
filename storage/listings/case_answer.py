"""The portal's answer about a case: recorded with the listing, moved to the bucket, read."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.errors import NotFound
from storage.listings.listed_case import CaseListing
from storage.models import CaseAnswer
from storage.models.base import fields_of
from storage.objects.object_store import Objects
from storage.objects.uploads import Upload
from storage.postgres.database import Database

# Fast: a listing of 200 KiB takes about a millisecond, and one eighth of its size is left.
_COMPRESSION = 1
CHUNK_BYTES = 1024 * 1024
# How many answers one pass moves at most.
BATCH = 20
_KEY = (CaseAnswer.client, CaseAnswer.process_number, CaseAnswer.sha256)


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer as it is recorded. `content`: its bytes, compressed with zlib."""

    sha256: str
    size_bytes: int
    secrecy_level: int | None
    data: dict[str, Any]
    content: bytes

    @classmethod
    def of(cls, listing: CaseListing) -> RecordedAnswer | None:
        """Return the answer of a listing, None if the listing does not have its bytes."""
        if not listing.answer:
            return None
        return cls(
            hashlib.sha256(listing.answer).hexdigest(),
            len(listing.answer),
            listing.secrecy_level,
            listing.data,
            zlib.compress(listing.answer, _COMPRESSION),
        )

    @property
    def as_json(self) -> str:
        """Return the argument `_answer` of sql/listings/record_case_answer.sql."""
        return json.dumps(
            {
                "sha256": self.sha256,
                "size_bytes": self.size_bytes,
                "secrecy_level": self.secrecy_level,
                "data": self.data,
            }
        )


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The newest answer about a case. `data`: see actors/case_file/case_data.py."""

    process_number: str
    sha256: str
    size_bytes: int
    listed_time: datetime
    secrecy_level: int | None
    is_sealed: bool
    data: dict[str, Any]


def newest(database: Database, client: str, process_number: str) -> StoredAnswer:
    """Return the newest answer about a case to this client. Raises NotFound("case")."""
    with database.autocommit() as transaction:
        found = transaction.fetch(
            _newest(client, process_number, *fields_of(CaseAnswer, StoredAnswer)).objects(
                StoredAnswer
            )
        )
    if not found:
        raise NotFound("case", process_number)
    answer: StoredAnswer = found[0]
    return answer


def newest_bytes(
    database: Database, objects: Objects, client: str, process_number: str
) -> Generator[bytes]:
    """Yield the bytes of the newest answer to this client, in parts of at most 1 MiB.

    Raises NotFound("case"); ServiceUnavailable, also between two parts.
    """
    with database.autocommit() as transaction:
        row = transaction.fetch_one(
            _newest(
                client,
                process_number,
                CaseAnswer.content,
                CaseAnswer.object_key,
                CaseAnswer.source_key,
            ).dicts()
        )
    if row is None:
        raise NotFound("case", process_number)
    if row["content"] is None:
        yield from objects.parts(row["object_key"] or row["source_key"], CHUNK_BYTES)
        return
    rest = zlib.decompressobj()
    content = bytes(row["content"])
    while content and not rest.eof:
        yield rest.decompress(content, CHUNK_BYTES)
        content = rest.unconsumed_tail


def _newest(client: str, process_number: str, *fields: Any) -> Any:
    return (
        CaseAnswer.select(*fields)
        .where(CaseAnswer.client == client, CaseAnswer.process_number == process_number)
        .order_by(CaseAnswer.listed_time.desc())
        .limit(1)
    )


def move_to_bucket(database: Database, objects: Objects) -> int:
    """Put answers that the bucket does not have yet into it, oldest first. Return their number.

    Idempotent: an answer that two processes put at once gets the same bytes under the same key.
    Raises ServiceUnavailable.
    """
    waiting = (
        # Without the data, which may be as long as the answer.
        CaseAnswer.select(*_KEY, CaseAnswer.size_bytes)
        .where(CaseAnswer.object_key.is_null())
        .order_by(CaseAnswer.listed_time)
        .limit(BATCH)
    )
    with database.autocommit() as transaction:
        rows = transaction.fetch(waiting.dicts())
    for row in rows:
        _move(database, objects, row)
    return len(rows)


def _move(database: Database, objects: Objects, row: dict[str, Any]) -> None:
    is_it = [field == row[field.name] for field in _KEY]
    with database.autocommit() as transaction:
        kept = transaction.fetch_one(
            CaseAnswer.select(CaseAnswer.content, CaseAnswer.source_key).where(*is_it).dicts()
        )
    if kept is None or not any(kept.values()):
        # Another process moved it.
        return
    key = objects.prefix + answer_key(row["client"], row["process_number"], row["sha256"])
    objects.put(
        Upload(
            _bytes_of(objects, kept),
            key,
            row["size_bytes"],
            row["sha256"],
            "application/json",
            f"{row['process_number']}.json",
        )
    )
    moved = CaseAnswer.update(object_key=key, content=None, source_key=None).where(*is_it)
    with database.autocommit() as transaction:
        transaction.execute(moved)


def _bytes_of(objects: Objects, row: dict[str, Any]) -> bytes:
    if row["content"] is not None:
        return zlib.decompress(bytes(row["content"]))
    return b"".join(objects.parts(row["source_key"], CHUNK_BYTES))


def answer_key(client: str, process_number: str, sha256: str) -> str:
    """Return the key of an answer, without the prefix. A sweep never deletes such an object."""
    digits = "".join(c for c in process_number if c.isdigit())
    return f"{client}/listagens/{digits}/{sha256}.json"
