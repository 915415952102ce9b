"""The size limits of a document, which its listed size is checked against before any request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from storage.errors import Failure
from storage.settings import Settings

REASON = "TOO_LARGE"


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The limits of one document in bytes: DOCUMENT_MAX_BYTES, and the spool's SPOOL_MAX_BYTES.

    None: unlimited.
    """

    document_bytes: int | None = None
    spool_bytes: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits in the settings."""
        return cls(settings.document_max_bytes, settings.spool_max_bytes)

    @property
    def least_bytes(self) -> int | None:
        """Return the largest size that no limit refuses, None if every size is allowed."""
        limits = [limit for limit in (self.document_bytes, self.spool_bytes) if limit is not None]
        return min(limits, default=None)

    def refusal(self, listed_size_bytes: int | None) -> Failure | None:
        """Return why a document of this listed size is never requested, None if it may be."""
        size_bytes = listed_size_bytes or 0
        if self.document_bytes is not None and size_bytes > self.document_bytes:
            text = f"The document is larger than the {self.document_bytes} bytes allowed."
            return Failure(REASON, text, False)
        if self.spool_bytes is not None and size_bytes > self.spool_bytes:
            return Failure(REASON, "The document is larger than the spool.", False)
        return None


UNLIMITED = SizeLimits()
