"""The counters of what transactions change, for operators. They are counted after COMMIT.

Events of webhooks are something else: storage/events.

The composition root injects the counter (`Database(on_count=...)`). A COMMIT that lost its answer
is not counted.
"""

from __future__ import annotations

from collections.abc import Callable

# The name of the series, the values of its labels, and the number to add.
OnCount = Callable[[str, tuple[str, ...], float], None]

JOBS_ENDED = "autos_jobs_ended"  # by state
DOCUMENTS_ENDED = "autos_documents_ended"  # by state and reason
LEASES_LOST = "autos_leases_lost"  # by step
OBJECTS_SWEPT = "autos_objects_swept"

# Of the pool of connections to PostgreSQL: these are counted at once.
CONNECTIONS_BUSY = "autos_database_connections_busy"
CONNECTIONS_LIMIT = "autos_database_connections_limit"
CONNECTION_WAITS = "autos_database_waits"
CONNECTION_WAIT_SECONDS = "autos_database_wait_seconds"

# The reason of an AVAILABLE document that was reused, not fetched.
REUSED = "REUSED"
