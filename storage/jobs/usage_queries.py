"""The open jobs and the stored bytes of a client."""

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


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """The jobs of a client that have not ended: those that run, and those that wait.

    A job waits for its not_before_time or for the budget of different cases. It has a seat below 0.
    """

    running: int
    waiting: int


def open_jobs(database: Database, client: str) -> OpenJobs:
    """Count the jobs of a client that have not ended. Raises ServiceUnavailable."""
    waiting = fn.count(SQL("*")).filter(Job.seat < 0)
    query = Job.select(fn.count(SQL("*")).alias("open"), waiting.alias("waiting")).where(
        Job.client == client, Job.end_time.is_null(), IS_NO_LOOK
    )
    with database.autocommit() as transaction:
        row = transaction.fetch_one(query.dicts())
    return OpenJobs(row["open"] - row["waiting"], row["waiting"])


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
    with database.autocommit() as transaction:
        row = transaction.fetch_one(total)
    return StoredTotals(int(row["documents"]), int(row["size_bytes"]))
