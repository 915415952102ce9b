"""The identity of an installation, in its database and in its bucket.

Nothing is deleted from a bucket unless both name the same installation. The mark of the bucket is
one object, written by `release`. Beside it lies the beat: a number that grows in the database
first and in the bucket afterwards. If the bucket's number is larger, the database was restored
from a backup, and objects that have lost their rows are no orphans.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from storage.database import Database
from storage.objects import Objects

# No key of a document has this form: those contain "/processos/".
MARK = "autos-installation"
ADOPT = "`python -m storage.release --adopt-bucket`"
NO_ROW = "The database names no installation: run `python -m storage.release`."


@dataclass(frozen=True, slots=True)
class Installation:
    """The row of the installation."""

    installation_id: UUID
    beat: int
    adopt_time: datetime | None
    sweep_allowance: int
    bucket_trouble: str
    sweep_trouble: str


_READ = (
    "SELECT installation_id, beat, adopt_time, sweep_allowance, bucket_trouble, sweep_trouble"
    " FROM installation"
)


def read(database: Database) -> Installation | None:
    """Return the row; None before the first `release`. Raises ServiceUnavailable."""
    with database.single() as transaction:
        row = transaction.one(_READ)
    return Installation(**row) if row else None


def ensure(database: Database) -> Installation:
    """Return the row, made now if there was none. Any number of releases may run."""
    with database.single() as transaction:
        transaction.run(
            "INSERT INTO installation (installation_id) VALUES (%(id)s) ON CONFLICT DO NOTHING",
            id=uuid4(),
        )
    with database.single() as transaction:
        return Installation(**transaction.only(_READ))


def mark_key(objects: Objects) -> str:
    """Return the key of the object that names the bucket's installation."""
    return objects.prefix + MARK


def beat_key(objects: Objects, installation_id: UUID) -> str:
    """Return the key of the object that holds the beat of an installation."""
    return f"{objects.prefix}{MARK}-{installation_id}"


def owner(objects: Objects) -> str | None:
    """Return the id in the bucket's mark; None without a mark. Raises ServiceUnavailable."""
    mark = objects.read(mark_key(objects))
    return None if mark is None else mark.decode(errors="replace").strip()


def beat_of(objects: Objects, installation_id: UUID) -> int:
    """Return the number that the bucket holds for an installation, 0 without one."""
    number = (objects.read(beat_key(objects, installation_id)) or b"").strip()
    return int(number) if number.isdigit() else 0


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
    # Read after the bucket: the database that wrote this number has it, or a larger one.
    row = read(database)
    if row is None or number > row.beat:
        return (
            f"The database is older than its bucket: if it was restored from a backup, run {ADOPT}."
        )
    return ""


def beat(database: Database, objects: Objects) -> str:
    """Compare database and bucket, record the result, and let the beat grow if they agree.

    Returns why they do not agree, or an empty text. Raises ServiceUnavailable.
    """
    trouble = disagreement(database, objects)
    with database.single() as transaction:
        row = transaction.one(
            "UPDATE installation SET bucket_trouble = %(trouble)s,"
            " beat = beat + (%(trouble)s = '')::int RETURNING installation_id, beat",
            trouble=trouble,
        )
    if row and not trouble:
        objects.write(beat_key(objects, row["installation_id"]), str(row["beat"]).encode())
    return trouble


def allow(database: Database, most: int) -> None:
    """Let the next sweep delete up to `most` objects, whatever share of the bucket that is."""
    with database.single() as transaction:
        transaction.run("UPDATE installation SET sweep_allowance = %(most)s", most=most)


def troubles(database: Database) -> list[str]:
    """Return why nothing is deleted from the bucket; empty while sweeps may delete."""
    row = read(database)
    if row is None:
        return [NO_ROW]
    return [each for each in (row.bucket_trouble, row.sweep_trouble) if each]
