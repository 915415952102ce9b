"""The identity of an installation, in its database and in its bucket.

Nothing is deleted from a bucket unless both name the same installation. The mark of the bucket is
one object, written by `release`. A second object holds the beat: a number that grows in the
database first and in the bucket afterwards. If the bucket's number is larger, the database was
restored from a backup, and objects that have lost their rows are no orphans.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from storage.errors import printable
from storage.models import Installation
from storage.models.base import fields_of
from storage.objects.object_names import MARK
from storage.objects.object_store import Objects
from storage.postgres.database import Database

ADOPT = "`python -m storage.release --adopt-bucket`"
OWNER_CAP = 80
# In place of an id, in a sentence.
EMPTY_MARK = "whose mark is empty"
# A longer number is no beat: a bigint does not hold it.
BEAT_DIGITS = 18
NO_ROW = "The database names no installation: run `python -m storage.release`."


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """The row of the installation."""

    installation_id: UUID
    beat: int
    adopt_time: datetime | None
    sweep_allowance: int
    bucket_trouble: str
    sweep_trouble: str


_READ = Installation.select(*fields_of(Installation, InstallationRecord)).objects(
    InstallationRecord
)


def read(database: Database) -> InstallationRecord | None:
    """Return the row; None before the first `release`. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        row: InstallationRecord | None = transaction.fetch_one(_READ.clone())
    return row


def ensure(database: Database) -> InstallationRecord:
    """Return the row; insert it if there is none. Any number of releases may run."""
    with database.autocommit() as transaction:
        transaction.execute(Installation.insert(installation_id=uuid4()).on_conflict_ignore())
    row = read(database)
    if row is None:
        raise LookupError("the row of the installation is gone")
    return row


def mark_key(objects: Objects) -> str:
    """Return the key of the object that names the bucket's installation."""
    return objects.prefix + MARK


def beat_key(objects: Objects, installation_id: UUID) -> str:
    """Return the key of the object that holds the beat of an installation."""
    return f"{objects.prefix}{MARK}-{installation_id}"


def owner(objects: Objects) -> str | None:
    """Return the id in the bucket's mark; None without a mark. Raises ServiceUnavailable."""
    mark = objects.read(mark_key(objects))
    if mark is None:
        return None
    # It is in sentences and in a row. The page of a proxy would be long.
    return printable(" ".join(mark.decode(errors="replace").split())[:OWNER_CAP]) or EMPTY_MARK


def beat_of(objects: Objects, installation_id: UUID) -> int | None:
    """Return the beat that the bucket holds for an installation, None without one."""
    number = (objects.read(beat_key(objects, installation_id)) or b"").strip()
    return int(number) if number.isdigit() and len(number) <= BEAT_DIGITS else None


def disagreement(database: Database, objects: Objects) -> str:
    """Return why database and bucket do not belong together; empty if they do.

    Raises ServiceUnavailable.
    """
    found = owner(objects)
    if found is None:
        return f"{objects.place} has no mark of an installation: run `python -m storage.release`."
    row = read(database)
    if row is None:
        return NO_ROW
    if found != str(row.installation_id):
        return f"{objects.place} belongs to another installation, {found}."
    number = beat_of(objects, row.installation_id)
    if number is None:
        # Nothing shows which of the two is older.
        return f"{objects.place} has lost the beat of this installation: run {ADOPT}."
    # Read after the bucket: the database that wrote this number has the same one or a larger one.
    row = read(database)
    if row is None or number > row.beat:
        return (
            f"The database is older than its bucket: if it was restored from a backup, run {ADOPT}."
        )
    return ""


def beat(database: Database, objects: Objects) -> str:
    """Compare database and bucket, record the result, and increase the beat if they agree.

    Return why they do not agree, or an empty text. Raises ServiceUnavailable.
    """
    trouble = disagreement(database, objects)
    with database.autocommit() as transaction:
        row = transaction.fetch_one(
            Installation.update(bucket_trouble=trouble, beat=Installation.beat + int(not trouble))
            .returning(Installation.installation_id, Installation.beat)
            .dicts()
        )
    if row and not trouble:
        objects.write(beat_key(objects, row["installation_id"]), str(row["beat"]).encode())
    return trouble


def allow(database: Database, most: int) -> None:
    """Let the next sweep delete up to `most` objects, whatever share of the bucket they are."""
    with database.autocommit() as transaction:
        transaction.execute(Installation.update(sweep_allowance=most))


def troubles(database: Database) -> list[str]:
    """Return why nothing is deleted from the bucket; empty while sweeps may delete."""
    row = read(database)
    if row is None:
        return [NO_ROW]
    return [each for each in (row.bucket_trouble, row.sweep_trouble) if each]
