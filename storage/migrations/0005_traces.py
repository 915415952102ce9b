"""Where the present run of a job stands in a trace.

Only adds: processes of the release before still run while this is applied.
"""

from typing import Any

SCHEMA = """
-- traceparent of W3C Trace Context: the call that began the run; null when nothing is traced.
-- In the row, since messages carry ids only.
ALTER TABLE jobs ADD COLUMN traceparent text
    CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
"""


def up(_migrator: Any, db: Any) -> None:
    """Adds what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
