"""The owner of a bucket: an installation's mark is set once, and only an operator moves it.

A bucket may hold documents but no mark. Then a release from before the mark wrote them, for this
installation or for another one. The rows decide: if they name nearly all of the objects, the bucket
is theirs. Objects that the rows do not name are never deleted afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import SQL, fn

from storage.errors import ConfigurationError
from storage.models import Document, Installation, SweepCandidate
from storage.objects import installation
from storage.objects.installation import ADOPT
from storage.objects.object_names import CASES
from storage.objects.object_store import Objects
from storage.objects.sweeps import batches, limit, unnamed
from storage.postgres.database import Database

LOOK_BATCH = 1_000
ELSEWHERE = "set S3_BUCKET or S3_PREFIX to a place of this installation's own"


@dataclass(frozen=True, slots=True)
class Contents:
    """The documents in a bucket, compared with the rows.

    `there`: objects that look like documents. `unnamed`: those that no row names. `missing`: keys
    in rows without their object. `elsewhere`: keys in rows outside S3_PREFIX, which were not
    checked.
    """

    there: int
    unnamed: int
    missing: int
    elsewhere: int

    @property
    def named(self) -> int:
        """Return how many of the objects are named by rows."""
        return self.there - self.unnamed


def contents(database: Database, objects: Objects) -> Contents:
    """Compare every object with the rows. Raises ServiceUnavailable."""
    there = without_row = 0
    for batch in batches(objects.documents(), LOOK_BATCH):
        there += len(batch)
        without_row += len(unnamed(database, [each.key for each in batch]))
    with database.transaction() as transaction:
        transaction.set_local(statement_timeout="0")
        rows = transaction.fetch_one(_keys_in_rows(objects.prefix))
    missing = max(0, rows["here"] - (there - without_row))
    return Contents(there, without_row, missing, rows["elsewhere"])


def _keys_in_rows(prefix: str) -> Any:
    """Return the query for the number of keys in rows, under the prefix and elsewhere."""
    keys = (
        Document.select(Document.object_key)
        .where(Document.object_key.is_null(False))
        .distinct()
        .alias("keys")
    )
    count, key = fn.count(SQL("*")), keys.c.object_key
    # A longer prefix may begin with this one, such as a/ and a/b/.
    folder = fn.split_part(fn.substr(key, len(prefix) + 1), "/", 2)
    is_here = fn.starts_with(key, prefix) & (folder == CASES)
    return (
        Document.select(
            count.filter(is_here).alias("here"), count.filter(~is_here).alias("elsewhere")
        )
        .from_(keys)
        .dicts()
    )


def claim(database: Database, objects: Objects) -> None:
    """Mark the bucket as this installation's, unless the mark is there already.

    Raises ConfigurationError if the bucket belongs to another installation or may do so,
    ServiceUnavailable.
    """
    ours = installation.ensure(database).installation_id
    found = installation.owner(objects)
    if found is None:
        _set_first_mark(database, objects, ours)
        # Read also after a refused write: another release may have been faster, for this database
        # or for another one.
        found = installation.owner(objects)
    if found != str(ours):
        raise ConfigurationError(
            f"{objects.place} belongs to another installation, {found}: {ELSEWHERE}; only if this"
            f" database replaces that installation's, run {ADOPT}."
        )


def _set_first_mark(database: Database, objects: Objects, ours: UUID) -> None:
    found = contents(database, objects)
    if found.there and (not found.named or found.unnamed > limit(found.there)):
        raise ConfigurationError(
            f"{objects.place} holds {found.there} documents without a mark of their installation,"
            f" and no row of this database names {found.unnamed} of them: {ELSEWHERE}; only if"
            f" all of them are this installation's, run {ADOPT}."
        )
    if found.there:
        _spare_what_is_there(database, objects, ours)
    else:
        row = installation.ensure(database)
        objects.write(installation.beat_key(objects, ours), str(row.beat).encode())
    objects.write(installation.mark_key(objects), str(ours).encode(), is_new=True)


def adopt(database: Database, objects: Objects) -> Contents:
    """Make the bucket this installation's, whatever its mark was, and return its contents.

    No sweep deletes an object that is in the bucket now. Raises ServiceUnavailable.
    """
    ours = installation.ensure(database).installation_id
    found = contents(database, objects)
    _spare_what_is_there(database, objects, ours)
    objects.write(installation.mark_key(objects), str(ours).encode())
    return found


def _spare_what_is_there(database: Database, objects: Objects, ours: UUID) -> None:
    number = installation.beat_of(objects, ours) or 0
    with database.autocommit() as transaction:
        row = transaction.fetch_one(
            Installation.update(beat=fn.greatest(Installation.beat, number) + 1)
            .returning(Installation.beat)
            .dicts()
        )
    key = installation.beat_key(objects, ours)
    objects.write(key, str(row["beat"]).encode())
    # The clock of S3, which also dates the documents.
    now = objects.stored_time(key)
    with database.transaction() as transaction:
        transaction.execute(
            Installation.update(
                adopt_time=now, sweep_allowance=0, bucket_trouble="", sweep_trouble=""
            )
        )
        transaction.execute(SweepCandidate.delete())
