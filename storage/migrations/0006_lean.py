"""An index less on documents.

The processes of the release before find the same without it.
"""

from typing import Any

SCHEMA = """
-- Few documents are being fetched at a time, and documents_in_lane knows them. Without this index
-- a lease is renewed or taken without a word in any index.
DROP INDEX documents_lease_until;
ALTER TABLE documents SET (fillfactor = 85);
"""


def up(_migrator: Any, db: Any) -> None:
    """Takes away what is not needed; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
