"""What transactions do that operators want counted, told once it is committed.

Whoever composes a process says who listens (`Database(on_count=...)`); a COMMIT whose answer was
lost is not told.
"""

from __future__ import annotations

from collections.abc import Callable

# The name of the series, the values of its labels, and how many.
OnCount = Callable[[str, tuple[str, ...], int], None]

JOBS_ENDED = "autos_jobs_ended"  # by state
DOCUMENTS_ENDED = "autos_documents_ended"  # by state and reason
LEASES_LOST = "autos_leases_lost"  # by step

# The reason of a document that is AVAILABLE without having been fetched.
REUSED = "REUSED"
