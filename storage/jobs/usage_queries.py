"""The running jobs and the stored bytes of a client."""

from __future__ import annotations

from dataclasses import dataclass

from peewee import SQL, Select, fn

from storage.models import Document, Job
from storage.models.job import IS_NO_LOOK
from storage.postgres.database import Database


@dataclass(frozen=True, slots=True)
class StoredTotals:
    """The stored documents of a client and their bytes, each object counted once."""

    documents: int
    size_bytes: int


def running_jobs(database: Database, client: str) -> int:
    """Return how many jobs of a client run now. Raises ServiceUnavailable."""
    query = Job.select(fn.count(SQL("*")).alias("count")).where(
        Job.client == client, Job.end_time.is_null(), IS_NO_LOOK
    )
    with database.transaction() as transaction:
        return int(transaction.fetch_one(query.dicts())["count"])


def stored_totals(database: Database, client: str) -> StoredTotals:
    """Count the stored documents of a client. Reads all of its rows. Raises ServiceUnavailable."""
    objects = (
        Document.select(Document.object_key, Document.size_bytes)
        .distinct()
        .join(Job)
        .where(Job.client == client, Document.object_key.is_null(False))
        .alias("objects")
    )
    total = Select(
        [objects],
        [
            fn.count(SQL("*")).alias("documents"),
            fn.coalesce(fn.sum(objects.c.size_bytes), 0).alias("size_bytes"),
        ],
    )
    with database.transaction() as transaction:
        row = transaction.fetch_one(total)
    return StoredTotals(int(row["documents"]), int(row["size_bytes"]))
