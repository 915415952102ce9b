"""`python -m storage.objects.verify`: compare the rows of stored documents with the bucket.

It changes nothing and may run beside the processes. It prints each object that is missing or has
another size, and how many objects no row names. Exit code 0: every object is there; 1: some are
missing; 2: rows and bucket could not be compared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from peewee import fn

from storage.environment import core_dumps
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.models import Document
from storage.objects import installation
from storage.objects.object_store import Objects, ObjectStore
from storage.objects.sweeps import batches, unnamed
from storage.postgres.database import Database
from storage.settings import Settings

BATCH = 1_000
PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """The numbers of keys in rows, of those whose object is missing, and of objects without row.

    `trouble`: why database and bucket do not belong together; empty if they do.
    """

    named: int
    missing: int
    unnamed: int
    trouble: str


def compare(
    database: Database, objects: Objects, on_missing: Callable[[str, int], None]
) -> Comparison:
    """Compare every key in the rows with its object, and every object with the rows.

    `on_missing` gets the key and the size in bytes of each object that is missing or has another
    size. Raises ServiceUnavailable.
    """
    named = missing = without_row = 0
    for sizes in _named(database):
        there = objects.present(sizes)
        named += len(sizes)
        for key in sizes.keys() - there:
            missing += 1
            on_missing(key, sizes[key])
    for batch in batches(objects.documents(), BATCH):
        without_row += len(unnamed(database, [each.key for each in batch]))
    return Comparison(named, missing, without_row, installation.disagreement(database, objects))


def _named(database: Database) -> Iterator[dict[str, int]]:
    """Yield the keys in the rows with their sizes, in portions and in the order of the keys."""
    last = ""
    while True:
        with database.single() as transaction:
            rows = transaction.fetch(_after(last))
        if not rows:
            return
        yield dict(rows)
        last = rows[-1][0]


def _after(last: str) -> Any:
    return (
        Document.select(Document.object_key, fn.max(Document.size_bytes))
        .where(Document.object_key > last)
        .group_by(Document.object_key)
        .order_by(Document.object_key)
        .limit(BATCH)
        .tuples()
    )


def main() -> int:
    """Return the exit code."""
    core_dumps.switch_off()
    try:
        settings = Settings.from_env(os.environ, "release")
        with closing(Database(settings.database_url, max_connections=1)) as database:
            objects = Objects(ObjectStore.of(settings), max_connections=PARALLEL)
            found = compare(database, objects, _print_missing)
    except ServiceUnavailable as error:
        print(f"autos verify: {error.detail}", file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    except ConfigurationError as error:
        print(f"autos verify: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    print(  # noqa: T201 - for the operator
        f"autos verify: {found.named} objects are named by rows, {found.missing} of them are"
        f" missing; {found.unnamed} objects have no row. {found.trouble}".rstrip()
    )
    return 1 if found.missing else 0


def _print_missing(key: str, size_bytes: int) -> None:
    print(f"missing {size_bytes} {key}")  # noqa: T201 - for the operator


if __name__ == "__main__":
    sys.exit(main())
