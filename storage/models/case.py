"""What outlives the jobs of a case: that it was sealed, and that access to it was denied."""

from __future__ import annotations

from typing import Any

from peewee import TextField, fn
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel


class CaseSecrecy(BaseModel):
    """What the portal answered about a case, whichever client's job asked."""

    process_number = TextField(primary_key=True)
    # When a listing first had a seal: from then on no listing is copied to another client.
    sealed_time = DateTimeTZField(null=True)
    # When a listing was last answered NO_ACCESS: no listing from before is used again.
    denied_time = DateTimeTZField(null=True)

    @classmethod
    def deny(cls, process_number: str) -> Any:
        """Return the query by which no listing of the case from before now is used again."""
        return cls.insert(
            process_number=process_number, denied_time=fn.clock_timestamp()
        ).on_conflict(
            conflict_target=[cls.process_number], update={cls.denied_time: fn.clock_timestamp()}
        )

    class Meta:
        """No more than this."""

        table_name = "case_secrecy"
