"""`python -m storage.objects.verify`: compare the rows of stored objects with the bucket.

The objects are documents, and answers of the portal about cases.

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

from peewee import Tuple, fn

from storage.environment import core_dumps
from storage.errors import ConfigurationError, ServiceUnavailable
from storage.models import CaseAnswer, Document
from storage.models.base import is_any
from storage.objects import installation
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.sweeps import batches, unnamed
from storage.postgres.database import Database
from storage.process_number import punctuated
from storage.settings import Settings

BATCH = 1_000
PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of keys in rows, of those whose object is missing, and of objects without row."""

    named: int
    missing: int
    unnamed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was counted. `trouble`: why database and bucket do not belong together; or empty."""

    documents: Counts
    answers: Counts
    trouble: str

    @property
    def is_whole(self) -> bool:
        """Return whether every object is there."""
        return not self.documents.missing and not self.answers.missing


def compare(
    database: Database, objects: Objects, on_missing: Callable[[str, int], None]
) -> Comparison:
    """Compare every key in the rows with its object, and every object with the rows.

    `on_missing` gets the key and the size in bytes of each object that is missing or has another
    size. Raises ServiceUnavailable.
    """
    documents = _counts(
        _documents(database),
        objects,
        on_missing,
        sum(
            len(unnamed(database, [each.key for each in batch]))
            for batch in batches(objects.documents(), BATCH)
        ),
    )
    answers = _counts(
        _answers(database),
        objects,
        on_missing,
        sum(
            len(_unnamed_answers(database, objects.prefix, [each.key for each in batch]))
            for batch in batches(objects.answers(), BATCH)
        ),
    )
    return Comparison(documents, answers, installation.disagreement(database, objects))


def _counts(
    portions: Iterator[dict[str, int]],
    objects: Objects,
    on_missing: Callable[[str, int], None],
    without_row: int,
) -> Counts:
    named = missing = 0
    for sizes in portions:
        there = objects.present(sizes)
        named += len(sizes)
        for key in sizes.keys() - there:
            missing += 1
            on_missing(key, sizes[key])
    return Counts(named, missing, without_row)


def _documents(database: Database) -> Iterator[dict[str, int]]:
    """Yield the keys in the rows with their sizes, in portions and in the order of the keys."""
    last = ""
    while True:
        with database.autocommit() as transaction:
            rows = transaction.fetch(_after(last))
        if not rows:
            return
        yield dict(rows)
        last = rows[-1][0]


def _answers(database: Database) -> Iterator[dict[str, int]]:
    """Yield the keys of answers with their sizes, in portions and in the order of their rows.

    Answers that the bucket does not have yet stand in the row, or under the key of another row.
    """
    last = ("", "", "")
    names = (CaseAnswer.client, CaseAnswer.process_number, CaseAnswer.sha256)
    query = CaseAnswer.select(*names, CaseAnswer.object_key, CaseAnswer.size_bytes)
    while True:
        following = query.where(Tuple(*names) > Tuple(*last)).order_by(*names).limit(BATCH)
        with database.autocommit() as transaction:
            rows = transaction.fetch(following.tuples())
        if not rows:
            return
        yield {key: size for _, _, _, key, size in rows if key is not None}
        last = rows[-1][:3]


def _unnamed_answers(database: Database, prefix: str, keys: list[str]) -> list[str]:
    """Return those of the keys that no answer's row names, found by what a key consists of."""
    parts = [key.removeprefix(prefix).split("/") for key in keys]
    query = CaseAnswer.select(CaseAnswer.object_key).where(
        is_any(CaseAnswer.client, {client for client, *_ in parts}),
        is_any(CaseAnswer.process_number, {punctuated(number) for _, _, number, _ in parts}),
        is_any(CaseAnswer.sha256, {name.removesuffix(".json") for *_, name in parts}),
    )
    with database.autocommit() as transaction:
        named = {key for (key,) in transaction.fetch(query.tuples())}
    return [key for key in keys if key not in named]


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
    print(_sentence("objects", found.documents))  # noqa: T201 - for the operator
    print(  # noqa: T201 - for the operator
        f"{_sentence('answers of the portal', found.answers)} {found.trouble}".rstrip()
    )
    return 0 if found.is_whole else 1


def _sentence(what: str, found: Counts) -> str:
    return (
        f"autos verify: {found.named} {what} are named by rows, {found.missing} of them are"
        f" missing; {found.unnamed} {what} have no row."
    )


def _print_missing(key: str, size_bytes: int) -> None:
    print(f"missing {size_bytes} {key}")  # noqa: T201 - for the operator


if __name__ == "__main__":
    sys.exit(main())
