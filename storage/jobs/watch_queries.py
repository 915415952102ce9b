"""Read the changes of many watched jobs at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from storage import sql
from storage.jobs import job_queries
from storage.postgres.database import Database, Transaction
from storage.records import DocumentRecord, JobView


@dataclass(frozen=True, slots=True)
class WatchedJob:
    """A job in its current state, and its changed documents in the order of their revisions."""

    view: JobView
    documents: list[DocumentRecord]


def read_changes(
    database: Database, after: Mapping[UUID, int], clients: Mapping[UUID, str] | None = None
) -> dict[UUID, WatchedJob]:
    """Return these jobs, each with the documents that changed after the given revision.

    `clients`: the client of each job; jobs of other clients are left out.
    """
    # Otherwise a job could have a webhook of a later revision.
    with database.snapshot() as transaction:
        views = job_queries.views(transaction, after)
        if clients is not None:
            views = {i: view for i, view in views.items() if view.job.client == clients[i]}
        documents = _changed(transaction, views, after)
    return {job_id: WatchedJob(view, documents.get(job_id, [])) for job_id, view in views.items()}


def _changed(
    transaction: Transaction, views: Mapping[UUID, JobView], after: Mapping[UUID, int]
) -> dict[UUID, list[DocumentRecord]]:
    # A later change belongs to a revision that the views do not contain yet.
    behind = [job_id for job_id, view in views.items() if view.job.revision > after[job_id]]
    if not behind:
        return {}
    rows = transaction.all(
        sql.statement("changed_documents"),
        ids=behind,
        after=[after[job_id] for job_id in behind],
        up_to=[views[job_id].job.revision for job_id in behind],
    )
    found: dict[UUID, list[DocumentRecord]] = {}
    for row in rows:
        found.setdefault(row["job_id"], []).append(DocumentRecord.of(row))
    return found


def newest(database: Database, cases: Collection[tuple[str, str]]) -> dict[tuple[str, str], UUID]:
    """Return the newest job of each case, given as client and process number."""
    with database.autocommit() as transaction:
        rows = transaction.all(
            sql.statement("newest_jobs"),
            clients=[client for client, _ in cases],
            process_numbers=[number for _, number in cases],
        )
    return {(row["client"], row["process_number"]): row["job_id"] for row in rows}
