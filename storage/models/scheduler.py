"""The leading scheduler, and the worker processes that take its proposals."""

from __future__ import annotations

from peewee import BooleanField, Default, IntegerField, UUIDField
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks, timestamp_now


class WorkerProcess(BaseModel):
    """A worker process. It takes proposals while its heartbeat is recent."""

    worker_id = UUIDField(primary_key=True)
    heartbeat_time = timestamp_now()
    # Slices that it can process concurrently; 0 while it stops, or cannot take any.
    threads = IntegerField()
    # Whether there is room in its spool.
    takes_files = BooleanField(constraints=[Default("true")])

    class Meta:
        """A CHECK: the number of threads is not negative."""

        table_name = "workers"
        constraints = checks("workers", threads="threads >= 0")


class Leader(BaseModel):
    """The leading scheduler, in one row: its lease, and whether Valkey accepts its messages."""

    is_only = BooleanField(primary_key=True, constraints=[Default("true")])
    # A new random id at each take-over. Null: no scheduler leads.
    holder = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    # The time of its last successful write to Valkey.
    sends_time = DateTimeTZField(null=True)

    class Meta:
        """A CHECK against a second row."""

        table_name = "leader"
        constraints = checks(
            "leader",
            is_only="is_only",
            lease_has_end="(holder IS NULL) = (lease_until IS NULL)",
        )
