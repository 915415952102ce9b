"""Whether the rows of a listing are under seal."""

from __future__ import annotations

from storage.models import Document
from storage.postgres.database import Row, Transaction


def is_listing_sealed(transaction: Transaction, job: Row) -> bool:
    """Return whether a job was listed with any seal. Unknown counts as sealed."""
    if job["listed_time"] is None:
        return False
    sealed = Document.select(Document.document_id).where(
        Document.job_id == (job["documents_of"] or job["job_id"]),
        Document.secrecy_level != "PUBLICO",
    )
    return job["secrecy_level"] != 0 or transaction.fetch_one(sealed.limit(1).dicts()) is not None
