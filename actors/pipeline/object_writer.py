"""Put checked files into the bucket, and track whether the bucket answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog

from actors.leases.lease_renewer import LeaseRenewer
from storage.documents.file_records import StoredFile
from storage.errors import ServiceUnavailable
from storage.objects.object_names import object_key
from storage.objects.object_store import Objects
from storage.objects.uploads import Upload
from storage.portal.document_claims import CheckedFile
from storage.spool import Spool
from storage.telemetry.signals import NOOP_SIGNALS, SIZE_BYTES, Signals
from storage.telemetry.tracing import Span

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POSTPONE_BASE_S = 1.0
POSTPONE_CAP_S = 30.0
# Seconds after which a put from memory is broken off. The file then goes to the spool.
PUT_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class WrittenObject(StoredFile):
    """A file that the bucket holds and that is not recorded yet.

    `data`: its bytes, if it was never in the spool. `log_context`: the fields of its log lines.
    """

    data: bytes | None
    log_context: dict[str, Any]


class BucketHealth:
    """Whether the bucket answers, by the puts of this process. Thread-safe.

    `threads`: how many threads put. A bucket that fails gets no put for a time that grows with each
    failure. After that time one thread tries it before all others do. `put_limit_s`: seconds after
    which a put from memory is broken off, and from which on a put counts as slow.
    """

    def __init__(self, threads: int, *, put_limit_s: float = PUT_LIMIT_S) -> None:
        self._threads = threads
        self.put_limit_s = put_limit_s
        self._began: dict[int, float] = {}
        self._failures = 0
        self._away_until = 0.0

    @property
    def is_ready(self) -> bool:
        """Return whether a put is worth a try: the bucket answers, and most puts are not slow."""
        now = monotonic()
        if self._failures and (now < self._away_until or self._began):
            return False
        slow = sum(now - began > self.put_limit_s for began in [*self._began.values()])
        return slow * 2 < self._threads

    @contextmanager
    def putting(self) -> Iterator[None]:
        """Count the put of the block, and its result."""
        thread = threading.get_ident()
        self._began[thread] = monotonic()
        try:
            yield
            self._failures = 0
        except ServiceUnavailable:
            pause_s = POSTPONE_BASE_S * 2 ** min(self._failures, 10)
            self._failures += 1
            self._away_until = monotonic() + min(POSTPONE_CAP_S, pause_s)
            raise
        finally:
            del self._began[thread]


@dataclass(frozen=True)
class ObjectWriter:
    """The dependencies of putting a file."""

    objects: Objects
    spool: Spool
    renewer: LeaseRenewer
    health: BucketHealth
    signals: Signals = NOOP_SIGNALS

    def put(self, file: CheckedFile, data: bytes | None, *, limit_s: float | None) -> WrittenObject:
        """Put a file: `data`, or the spool's file of its lease.

        `limit_s`: the time limit in seconds. Raises LeaseLost, FileNotFoundError if the spool has
        no such file, TransientError if its bytes are not those that were checked, and
        ServiceUnavailable.
        """
        key = self.objects.prefix + object_key(
            file.client, file.process_number, file.document_id, file.sha256, file.extension
        )
        is_unwanted = threading.Event()
        with (
            self.health.putting(),
            self.renewer.holding(file.lease, is_unwanted.set),
            self.signals.request("s3", "PUT", SIZE_BYTES, file.size_bytes),
        ):
            self.objects.put(
                Upload(
                    source=self.spool.path(file.lease) if data is None else data,
                    key=key,
                    size_bytes=file.size_bytes,
                    sha256=file.sha256,
                    content_type=file.content_type,
                    name=file.name,
                    is_wanted=lambda: not is_unwanted.is_set(),
                    limit_s=limit_s,
                )
            )
        return WrittenObject(file, key, data, structlog.contextvars.get_contextvars())

    @contextmanager
    def step(self, file: CheckedFile) -> Iterator[Span]:
        """Add the file to log lines, and count and trace its upload, inside the block."""
        with (
            structlog.contextvars.bound_contextvars(
                job_id=str(file.job_id), document_id=str(file.document_id)
            ),
            self.signals.step(
                "upload",
                job_id=file.job_id,
                document_id=file.document_id,
                traceparent=file.traceparent,
            ) as span,
        ):
            yield span
