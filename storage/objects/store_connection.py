"""The connections to the bucket: pools, clients, and what the store refuses or lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import structlog
import urllib3
from minio.error import S3Error

from storage.errors import ServiceUnavailable, StoreRefused
from storage.objects.object_names import MARK
from storage.objects.store_address import ObjectStore
from storage.objects.store_errors import Answer, StoreRefusal, store_pools, translated
from storage.refusals import STORE, RefusalWatch

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONNECT_S, SILENCE_S = 5.0, 60.0
# Keys are locked meanwhile, and other transactions may wait for them.
DELETE_S = 20.0
# How many bytes of a file are sent at once.
BLOCK_BYTES = 128 * 1024
PARALLEL_HEADS = 16


class StoreConnection:
    """The connections to a bucket, which translate and log its errors.

    Thread-safe. Open it after a fork.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_connections: int,
        watch: RefusalWatch | None,
        delete_s: float,
    ) -> None:
        """Open the bucket.

        `watch` logs and publishes refusals; without one they are only logged. `delete_s`: the time
        limit of a deletion in seconds.
        """
        self._store = store
        self._watch = watch or RefusalWatch(STORE)
        self._lacks: set[str] = set()
        self._http = store_pools(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
            maxsize=max(max_connections, PARALLEL_HEADS),
            blocksize=BLOCK_BYTES,
            **store.tls,
            retries=urllib3.Retry(
                total=2,
                backoff_factor=0.1,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                redirect=0,
                # The header may ask for hours, and a lease would be renewed all that time.
                respect_retry_after_header=False,
            ),
        )
        self._minio = store.client(store.endpoint_url, self._http)
        self._deleting = store.client(
            store.endpoint_url,
            store_pools(timeout=urllib3.Timeout(total=delete_s), retries=False, **store.tls),
        )
        self._public = store.client(store.public_url)

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        """Translate the errors of an operation, and log refusals and outages."""
        try:
            with translated(operation):
                yield
        except ServiceUnavailable as error:
            self._watch.failed(operation, error)
            raise
        self._watch.succeeded(operation)

    def _note(self, step: str, error: Answer | StoreRefused) -> None:
        """Log once that the store lacks an operation of other stores; work continues without it."""
        if step not in self._lacks:
            self._lacks.add(step)
            refused = error if isinstance(error, StoreRefused) else StoreRefusal.of(error)
            log.warning("store lacks a step", step=step, code=refused.code, answer=refused.answer)


class StoreCheck:
    """Requests to one bucket, over connections of its own. `limit_s`: seconds for a request."""

    def __init__(self, store: ObjectStore, *, limit_s: float) -> None:
        self._bucket = store.bucket
        self._key = store.prefix + MARK
        self._http = store_pools(timeout=urllib3.Timeout(total=limit_s), retries=False, **store.tls)
        self._minio = store.client(store.endpoint_url, self._http)

    def ask(self) -> None:
        """Read the mark of the bucket; it may be missing.

        Raises StoreRefused with S3's own code, ServiceUnavailable.
        """
        # A GET: the answer to a refused HEAD has no code.
        with translated("GET"):
            try:
                with closing(self._minio.get_object(self._bucket, self._key)) as answer:
                    answer.read()
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()
