"""Upload stdin to the bucket part by part.

`curl URL | python -m tests.bench.speed.baselines.pipe_baseline KEY`. The environment has the
store's settings, as for Autos itself.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from minio import Minio

PART_BYTES = 8 * 1024 * 1024


def main() -> None:
    """Upload stdin."""
    store = Minio(
        urlsplit(os.environ["S3_ENDPOINT_URL"]).netloc,
        access_key=os.environ["S3_ACCESS_KEY_ID"],
        secret_key=os.environ["S3_SECRET_ACCESS_KEY"],
        secure=False,
        region=os.environ["S3_REGION"],
    )
    store.put_object(
        os.environ["S3_BUCKET"], sys.argv[1], sys.stdin.buffer, -1, part_size=PART_BYTES
    )


if __name__ == "__main__":
    main()
