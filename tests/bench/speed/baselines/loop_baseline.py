"""A plain loop that a user would write: five threads, one session, no records.

`python -m tests.bench.speed.baselines.loop_baseline` reads its parameters as JSON from stdin and
prints its figures to stdout.
"""

from __future__ import annotations

import json
import sys
import time
from io import BytesIO
from multiprocessing.pool import ThreadPool
from typing import Any
from urllib.parse import urlsplit

import requests
from minio import Minio

THREADS = 5


def main() -> None:
    """Download all documents of all cases."""
    orders = json.load(sys.stdin)
    session = requests.Session()
    store = Minio(
        urlsplit(orders["endpoint_url"]).netloc,
        access_key=orders["access_key_id"],
        secret_key=orders["secret_access_key"],
        secure=False,
        region=orders["region"],
    )
    api = orders["portal_url"] + "/api/v2"

    def listed(number: str) -> list[str]:
        (case,) = session.get(f"{api}/processos/{number}").json()
        return [document["hrefBinario"] for document in case["tramitacaoAtual"]["documentos"]]

    def copy(href: str) -> None:
        answer = session.get(api + href)
        answer.raise_for_status()
        content = answer.content
        key = orders["prefix"] + href.split("/")[-2] + ".pdf"
        store.put_object(orders["bucket"], key, BytesIO(content), len(content))

    begun, processor = time.time(), time.process_time()
    with ThreadPool(THREADS) as pool:
        hrefs: list[Any] = [href for number in orders["numbers"] for href in listed(number)]
        pool.map(copy, hrefs, chunksize=1)
    took = {"seconds": time.time() - begun, "cpu_s": time.process_time() - processor}
    print(json.dumps(took))


if __name__ == "__main__":
    main()
