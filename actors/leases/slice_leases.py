"""The leases of a slice's documents, held until each document is recorded or given back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from uuid import UUID

from actors.leases.lease_renewer import LeaseRenewer
from storage.portal.document_claims import DocumentClaim


class SliceLeases:
    """Hold the leases of a slice inside its `with` block. Thread-safe.

    A document that lost its lease is not requested any more. If the process stops, a document stays
    here, so that it is given back.
    """

    def __init__(self, renewer: LeaseRenewer, documents: Sequence[DocumentClaim]) -> None:
        self._renewer = renewer
        self._rest = deque(documents)
        self._held: dict[UUID, ExitStack] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> SliceLeases:
        """Hold the leases of all documents."""
        for claim in [*self._rest]:
            stack = ExitStack()
            self._held[claim.lease] = stack
            stack.enter_context(self._renewer.holding(claim.lease, partial(self._drop, claim)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release all leases."""
        for lease in [*self._held]:
            self.release(lease)

    def next(self) -> DocumentClaim | None:
        """Take the next document; its request begins now. None: no document is left."""
        with self._lock:
            return self._rest.popleft() if self._rest else None

    def take_rest(self) -> list[DocumentClaim]:
        """Take the documents before their requests begin, and release their leases."""
        with self._lock:
            rest = list(self._rest)
            self._rest.clear()
        for claim in rest:
            self.release(claim.lease)
        return rest

    def release(self, lease: UUID) -> None:
        """Release a lease: its document is recorded."""
        with self._lock:
            stack = self._held.pop(lease, None)
        if stack is not None:
            stack.close()

    def _drop(self, claim: DocumentClaim) -> None:
        """Drop a document that lost its lease."""
        with self._lock:
            if claim in self._rest and not self._renewer.is_stopping:
                self._rest.remove(claim)
