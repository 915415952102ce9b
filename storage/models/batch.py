"""Batches: the jobs that one StartDownloads call started or joined."""

from __future__ import annotations

from peewee import BooleanField, CompositeKey, Default, IntegerField, TextField, UUIDField
from playhouse.postgres_ext import BinaryJSONField

from storage.models.base import BaseModel, checks, reference, timestamp_now


class Batch(BaseModel):
    """A StartDownloads call. If it has a request_id, its row in `requests` names the batch."""

    batch_id = UUIDField(primary_key=True)
    client = TextField()
    create_time = timestamp_now()
    # Refused requests. Null: not every request has a result yet.
    refused = IntegerField(null=True)

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "batches"
        constraints = checks("batches", refused="refused >= 0")


class BatchItem(BaseModel):
    """The result of one request of a batch. It is written once, with the job that it names."""

    batch_id = reference(Batch, on_delete="CASCADE")
    # The position of the request in the call, from 0.
    place = IntegerField()
    # Not a foreign key: for a joined job its check would wait for every transaction that has locked
    # the job, and the deletion of a job would need an index here.
    job_id = UUIDField(null=True)
    # Whether the request made the job.
    is_new = BooleanField(constraints=[Default("false")])
    # Why the request was refused: the fields of storage/jobs/batches.py's Refusal.
    refusal = BinaryJSONField(null=True, index=False)

    class Meta:
        """A request has one result: a job or a refusal."""

        table_name = "batch_items"
        primary_key = CompositeKey("batch_id", "place")
        constraints = checks(
            "batch_items",
            place="place >= 0",
            one_result="(job_id IS NULL) <> (refusal IS NULL)",
        )
