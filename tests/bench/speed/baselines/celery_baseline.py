"""A common design: a Celery task per case, batches of five, a row per document.

Celery imports this in its worker; the parameters are in the environment.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from urllib.parse import urlsplit

import requests
from celery import Celery
from minio import Minio
from peewee import SQL, AutoField, CharField, DateTimeField, IntegerField, Model
from playhouse.pool import PooledPostgresqlDatabase

BATCH = 5
TASK = "fetch_case"

app = Celery("classic", broker=os.environ["CLASSIC_BROKER_URL"])
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True
)
database = PooledPostgresqlDatabase(None, max_connections=2 * BATCH)


class Document(Model):
    """The row of a document."""

    id = AutoField()
    process_number = CharField(index=True)
    href = CharField()
    state = CharField(index=True)
    key = CharField(null=True)
    sha256 = CharField(null=True)
    size_bytes = IntegerField(null=True)
    updated = DateTimeField(constraints=[SQL("DEFAULT clock_timestamp()")])

    class Meta:
        database = database


@cache
def session() -> requests.Session:
    """Return the process's HTTP session."""
    return requests.Session()


@cache
def store() -> Minio:
    """Return the process's S3 client."""
    return Minio(
        urlsplit(os.environ["S3_ENDPOINT_URL"]).netloc,
        access_key=os.environ["S3_ACCESS_KEY_ID"],
        secret_key=os.environ["S3_SECRET_ACCESS_KEY"],
        secure=False,
        region=os.environ["S3_REGION"],
    )


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def fetch_case(number: str, prefix: str) -> None:
    """Download all documents of a case, five at a time."""
    if database.database is None:
        database.init(os.environ["CLASSIC_DATABASE_URL"])
    api = os.environ["PDPJ_BASE_URL"] + "/api/v2"
    with database.connection_context(), ThreadPoolExecutor(BATCH) as pool:
        (case,) = session().get(f"{api}/processos/{number}").json()
        hrefs = [each["hrefBinario"] for each in case["tramitacaoAtual"]["documentos"]]
        rows = [Document.create(process_number=number, href=h, state="PENDING") for h in hrefs]
        for begin in range(0, len(rows), BATCH):
            list(pool.map(lambda row: copy(row, api, prefix), rows[begin : begin + BATCH]))


def copy(row: Document, api: str, prefix: str) -> None:
    """Copy a document from the portal into the bucket and keep its row up to date."""
    with database.connection_context():
        save(row, state="DOWNLOADING")
    answer = session().get(api + row.href)
    answer.raise_for_status()
    content = answer.content
    key = prefix + row.href.split("/")[-2] + ".pdf"
    store().put_object(os.environ["S3_BUCKET"], key, BytesIO(content), len(content))
    sha256 = hashlib.sha256(content).hexdigest()
    with database.connection_context():
        save(row, state="AVAILABLE", key=key, sha256=sha256, size_bytes=len(content))


def save(row: Document, **changed: object) -> None:
    """Write the changed fields."""
    changed["updated"] = SQL("clock_timestamp()")
    Document.update(**changed).where(Document.id == row.id).execute()
