"""What need not be asked again: a recent listing, and documents that the bucket already holds."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from storage.database import Database, Row
from storage.docket import Docket, Entry, StoredObject, entries_of
from storage.objects import Objects

_RECENT = """
SELECT job_id, secrecy_level, listed_time, total_documents FROM jobs
WHERE client = %(client)s AND process_number = %(process_number)s AND listed_time IS NOT NULL
ORDER BY create_time DESC, job_id DESC LIMIT 1
"""

_LISTED = """
SELECT document_id, name, kind, sequence, instance, filed_local_time, secrecy_level, hrefs,
    listed_size_bytes, listed_content_type, error_reason
FROM documents WHERE job_id = %(job_id)s ORDER BY position
"""

_STORED = """
SELECT DISTINCT ON (document_id)
    document_id, object_key, size_bytes, sha256, content_type, extension
FROM documents JOIN jobs USING (job_id)
WHERE document_id = ANY(%(document_ids)s) AND documents.state = 'AVAILABLE'
ORDER BY document_id, jobs.create_time DESC
"""


def recent_docket(
    database: Database,
    client: str,
    process_number: str,
    *,
    max_age_s: float,
    most: int | None = None,
) -> Docket | None:
    """The listing of the newest job of the case that listed, if it is at most `max_age_s` old.

    None also when it has more than `most` documents.
    """
    if max_age_s <= 0:
        return None
    with database.transaction() as transaction:
        job = transaction.one(
            f"SELECT * FROM ({_RECENT}) AS newest WHERE listed_time >= "
            "clock_timestamp() - %(max_age_s)s * interval '1 second'"
            " AND (%(most)s IS NULL OR total_documents <= %(most)s)",
            client=client,
            process_number=process_number,
            max_age_s=max_age_s,
            most=most,
        )
        if job is None:
            return None
        rows = transaction.all(_LISTED, job_id=job["job_id"])
    return Docket(job["secrecy_level"], entries_of(rows), job["listed_time"])


def with_stored(
    database: Database, objects: Objects, docket: Docket, *, limit_s: float | None = None
) -> Docket:
    """The docket with every document that an earlier job stored and the bucket still holds.

    A document whose listed size is another now has changed and is fetched again. Raises
    ServiceUnavailable when PostgreSQL or S3 is away.
    """
    stored = _stored(database, docket.entries)
    same = {
        entry.document_id: stored[entry.document_id]
        for entry in docket.entries
        if entry.document_id in stored
        and entry.listed.listed_size_bytes in (None, stored[entry.document_id].size_bytes)
    }
    there = objects.present({s.object_key: s.size_bytes for s in same.values()}, limit_s=limit_s)
    return docket.carrying({i: s for i, s in same.items() if s.object_key in there})


def _stored(database: Database, entries: Sequence[Entry]) -> dict[UUID, StoredObject]:
    ids = [entry.document_id for entry in entries]
    if not ids:
        return {}
    with database.transaction() as transaction:
        rows = transaction.all(_STORED, document_ids=ids)
    return {row["document_id"]: _object(row) for row in rows}


def _object(row: Row) -> StoredObject:
    return StoredObject(**{name: row[name] for name in StoredObject.__slots__})
