"""What need not be asked again: a recent listing, and documents that the bucket already holds.

A listing serves every client: the portal is asked with one login whoever the client is, so
another's listing says nothing that the own one would not have said. Stored documents are not
shared: document_id is derived anew for each client, and so are the keys of its objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from storage import sql
from storage.database import Database, Row, Transaction
from storage.listings.listing_import import ListingImport, StoredObject, items_of
from storage.objects import Objects

# The job of the case that the same client listed last.
EARLIER = """
SELECT job_id FROM jobs WHERE client = %(client)s AND process_number = %(process_number)s
    AND listed_time IS NOT NULL
ORDER BY listed_time DESC, create_time DESC, job_id DESC LIMIT 1
"""

# Of equally new listings the client's own. Another client's serves only if the case never had a
# seal and the listing kept its origin_id, which a job has in all of its rows or in none.
_NEWEST = f"""
SELECT * FROM jobs AS listed
WHERE process_number = {{process_number}} AND listed_time IS NOT NULL
    AND (client = {{client}} OR (NOT {sql.function("case_is_sealed").name}({{process_number}})
        AND NOT EXISTS (SELECT FROM documents
            WHERE documents.job_id = listed.job_id AND position = 0 AND origin_id IS NULL)))
ORDER BY listed_time DESC, client = {{client}} DESC, create_time DESC, job_id DESC LIMIT 1
"""

# What was answered after a caller had asked answers that caller too, however fresh it is to be.
SERVING = f"""
SELECT newest.job_id FROM jobs CROSS JOIN LATERAL ({_NEWEST}) AS newest
WHERE jobs.job_id = %(job_id)s
    AND newest.listed_time > coalesce(jobs.listing_doubt_time, '-infinity')
    AND (newest.listed_time >= coalesce(jobs.rerun_time, jobs.create_time)
         OR (jobs.max_age_s > 0 AND newest.listed_time >=
             clock_timestamp() - jobs.max_age_s * interval '1 second'))
""".format(process_number="jobs.process_number", client="jobs.client")

_LISTED = """
SELECT document_id, origin_id, name, kind, sequence, instance, filed_local_time, secrecy_level,
    hrefs, listed_size_bytes, listed_content_type, error_reason
FROM documents WHERE job_id = %(job_id)s ORDER BY position
"""

_COMPARE = f"""
SELECT clock_timestamp() AS now, (SELECT count(*) FROM documents
    WHERE job_id = ({EARLIER}) AND document_id <> ALL(%(document_ids)s::uuid[])) AS missing
"""

_ANY_STORED = f"""
SELECT object_key, size_bytes FROM documents
WHERE job_id = ({EARLIER}) AND object_key IS NOT NULL LIMIT 1
"""

_STORED = """
SELECT DISTINCT ON (document_id)
    document_id, object_key, size_bytes, sha256, content_type, extension
FROM documents JOIN jobs USING (job_id)
WHERE document_id = ANY(%(document_ids)s) AND documents.state = 'AVAILABLE'
ORDER BY document_id, jobs.create_time DESC
"""

_FAILED = """
SELECT document_id, listed_size_bytes FROM documents
WHERE job_id = %(job_id)s AND state = 'FAILED'
"""


def recent_listing(
    database: Database, client: str, process_number: str, source: UUID
) -> ListingImport | None:
    """Return the listing of the job `source` for this client, None if it must not be reused.

    It must not if it lacks documents that this client had listed before, unless the portal was
    asked twice.
    """
    listing, missing = compared(
        database, client, process_number, listing_of(database, client, source)
    )
    return None if missing and listing.doubt_time is None else listing


def source_of(transaction: Transaction, job_id: UUID) -> UUID | None:
    """The job whose listing serves this one, which is not listed yet; None: the portal must."""
    source = transaction.one(SERVING, job_id=job_id)
    return source["job_id"] if source else None


def listing_of(database: Database, client: str, job_id: UUID) -> ListingImport:
    """The listing of a job, for this client."""
    with database.transaction() as transaction:
        job = transaction.only("SELECT * FROM jobs WHERE job_id = %(job_id)s", job_id=job_id)
        rows = transaction.all(_LISTED, job_id=job_id)
    return ListingImport(
        job["secrecy_level"],
        items_of(client, job["process_number"], rows),
        job["listed_time"],
        job["listing_doubt_time"],
    )


def compared(
    database: Database, client: str, process_number: str, listing: ListingImport
) -> tuple[ListingImport, int]:
    """The listing, dated, and how many documents it lacks that this client had listed before.

    A listing without a time has just been answered by the portal.
    """
    with database.single() as transaction:
        row = transaction.only(
            _COMPARE,
            client=client,
            process_number=process_number,
            document_ids=[item.document_id for item in listing.items],
        )
    return replace(listing, listed_time=listing.listed_time or row["now"]), row["missing"]


def require_bucket(
    database: Database, objects: Objects, client: str, process_number: str, *, limit_s: float
) -> None:
    """Raises ServiceUnavailable while what is stored of the case cannot be looked up.

    For before the portal is asked: an answer that cannot be recorded would be asked for again.
    """
    with database.single() as transaction:
        row = transaction.one(_ANY_STORED, client=client, process_number=process_number)
    if row:
        objects.present({row["object_key"]: row["size_bytes"]}, limit_s=limit_s)


def with_stored(
    database: Database, objects: Objects, listing: ListingImport, *, limit_s: float | None = None
) -> ListingImport:
    """The listing with every document that an earlier job stored and the bucket still holds.

    A document whose listed size is another now has changed and is fetched again. Raises
    ServiceUnavailable when PostgreSQL or S3 is away.
    """
    listed = {item.document_id: item.listed.listed_size_bytes for item in listing.items}
    with database.single() as transaction:
        same = _stored_as_listed(transaction, listed)
    there = objects.present({s.object_key: s.size_bytes for s in same.values()}, limit_s=limit_s)
    return listing.with_reused_objects({i: s for i, s in same.items() if s.object_key in there})


def stored_of_failed(transaction: Transaction, job_id: UUID) -> dict[str, int]:
    """What other jobs stored of the documents that failed in this one: keys, and sizes in bytes.

    A document that is listed with another size than was stored has changed. Whether the bucket
    still holds them is to be asked.
    """
    rows = transaction.all(_FAILED, job_id=job_id)
    listed = {row["document_id"]: row["listed_size_bytes"] for row in rows}
    stored = _stored_as_listed(transaction, listed)
    return {s.object_key: s.size_bytes for s in stored.values()}


def _stored_as_listed(
    transaction: Transaction, listed: Mapping[UUID, int | None]
) -> dict[UUID, StoredObject]:
    """What is stored of the documents whose listed sizes these are, if the size agrees."""
    if not listed:
        return {}
    rows = transaction.all(_STORED, document_ids=list(listed))
    return {
        row["document_id"]: _object(row)
        for row in rows
        if listed[row["document_id"]] in (None, row["size_bytes"])
    }


def _object(row: Row) -> StoredObject:
    return StoredObject(**{name: row[name] for name in StoredObject.__slots__})
