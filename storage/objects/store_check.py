"""One signed request to the bucket at the start of a process, and at a scrape of the metrics."""

from __future__ import annotations

from contextlib import closing

import urllib3
from minio.error import S3Error

from storage.objects.object_names import MARK
from storage.objects.store_address import ObjectStore
from storage.objects.store_errors import store_pools, translated


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
