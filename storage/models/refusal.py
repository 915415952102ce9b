"""The current refusals of a dependency, which servers report."""

from __future__ import annotations

from peewee import CompositeKey, TextField

from storage.models.base import BaseModel, checks, timestamp_now


class ServiceRefusal(BaseModel):
    """An operation that a dependency refuses. In force while `see_time` is recent."""

    part = TextField()
    operation = TextField()
    # The dependency's own code for it, and its text.
    code = TextField()
    answer = TextField()
    since_time = timestamp_now()
    see_time = timestamp_now()

    class Meta:
        """One row for each operation of a dependency."""

        table_name = "service_refusals"
        primary_key = CompositeKey("part", "operation")
        constraints = checks("service_refusals", seen_since="see_time >= since_time")
