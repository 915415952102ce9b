"""Parts of the pipeline that call a test at a point of their work: bucket, fetcher, database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from actors.pipeline.fetch import DocumentFetcher, Fetched
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.portal.document_claims import DocumentClaim
from storage.portal.outcomes import Outcome
from storage.postgres.database import Database, Row
from storage.sql import SqlFunction

CONNECTIONS = 16


def _nothing(*_: Any) -> None:
    """Do nothing."""


class HookedObjects(Objects):
    """A bucket that calls hooks around its puts, and after its deletions."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        before_put: Callable[[Upload], object] = _nothing,
        after_put: Callable[[Upload], object] = _nothing,
        after_delete: Callable[[], object] = _nothing,
    ) -> None:
        super().__init__(store, max_connections=CONNECTIONS)
        self._before_put = before_put
        self._after_put = after_put
        self._after_delete = after_delete

    def put(self, upload: Upload) -> None:
        """Put a file, between the hooks."""
        self._before_put(upload)
        super().put(upload)
        self._after_put(upload)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, then call the hook."""
        super().delete(keys)
        self._after_delete()


@dataclass(frozen=True)
class HookedFetcher(DocumentFetcher):
    """A fetcher that calls `after_fetch` with the answer to each request."""

    after_fetch: Callable[[Fetched | Outcome], object] = _nothing

    def fetch(self, claim: DocumentClaim) -> Fetched | Outcome:
        """Fetch a document, then call the hook."""
        answer = super().fetch(claim)
        self.after_fetch(answer)
        return answer


def hooked_fetcher(
    fetcher: DocumentFetcher, after_fetch: Callable[[Fetched | Outcome], object]
) -> HookedFetcher:
    """Return the same fetcher with a hook."""
    parts = {field.name: getattr(fetcher, field.name) for field in fields(DocumentFetcher)}
    return HookedFetcher(**parts, after_fetch=after_fetch)


class HookedDatabase(Database):
    """A database that calls `before_call` with each function's name and arguments."""

    def __init__(self, url: str, before_call: Callable[[str, dict[str, Any]], object]) -> None:
        super().__init__(url, max_connections=CONNECTIONS)
        self._before_call = before_call

    def call(self, function: SqlFunction, **values: Any) -> list[Row]:
        """Call a function, after the hook."""
        self._before_call(function.name, values)
        return super().call(function, **values)
