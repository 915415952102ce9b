"""How much one answer about a case may hold: more would need too much memory. Pure."""

from __future__ import annotations

from storage.errors import PermanentError

MOST_BYTES = 64 * 1024 * 1024
# Values of the JSON at all levels. A document has about 20; a case of 20,000 documents, each listed
# twice, has 800,000.
MOST_VALUES = 2_500_000
# Entries in all lists. A document in two lists is two entries.
MOST_ENTRIES = 100_000


class ListingTooLarge(PermanentError):
    """The portal lists more than Autos accepts. Another request would get the same answer."""

    def __init__(self, limit: str) -> None:
        """Set the limit that the listing exceeds, such as "64 MiB"."""
        super().__init__("PORTAL_ERROR", f"The portal's listing of the case has more than {limit}.")
