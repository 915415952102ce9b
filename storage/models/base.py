"""The common parts of the models. The models are the only definition of the tables.

**The database is passed, never bound.** No model has a database: a query is built from models alone
and runs with `Transaction.fetch`, `fetch_one` or `execute` (database.py), on the connection of that
transaction. A process may have several `Database` objects with pools and threads of their own, and
the tests open many. peewee's `bind_ctx` and `DatabaseProxy` set one database on the model class,
which all threads share. A query outside a transaction raises an error instead of opening one. So
peewee's methods without a query (`Job.get(...)`, `job.save()`) are not used.

**To add a column**: add the field to its model, with its default as DDL (`Default(...)`, so that
SQL outside the models gets it, too) and its CHECKs in `Meta.constraints`. Add a migration with a
`.sql` file that makes the same change (`ALTER TABLE ...`, expand first). Run test_schema.py. That
test makes one schema from the models and one by the migrations and names each difference. The order
of columns may differ, names and definitions may not. Fields that bring an index of their own
(foreign keys, arrays, JSON) need `index=False`. A new model is imported in
storage/models/__init__.py.

**Pitfalls of peewee**: `fn.concat(...)` and other names that peewee's nodes have as methods call
that method, not the SQL function: write those in capitals (`fn.CONCAT`). `in_` of a long list sends
each value by itself: use `is_any`. A field converts on the way back, too: rows of a very long page
cost about 10 microseconds each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField


class BaseModel(peewee.Model):
    """A table. Fields have the names of their columns."""

    class Meta:
        """Without a database, see above."""

        legacy_table_names = False


def checks(table: str, **conditions: str) -> list[Any]:
    """Return CHECK constraints, each under the name `<table>_<keyword>`."""
    return [peewee.Check(condition, f"{table}_{name}") for name, condition in conditions.items()]


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the SQL condition that `column` holds one of these constants."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def timestamp_now(**options: Any) -> Any:
    """Return a column that defaults to the time at which its row is inserted."""
    return DateTimeTZField(constraints=[peewee.Default("clock_timestamp()")], **options)


def reference(model: Any, **options: Any) -> Any:
    """Return a foreign key to a model ("self": its own), without an index of its own.

    Its value is the key, never the other row.
    """
    return peewee.ForeignKeyField(model, index=False, lazy_load=False, backref="+", **options)


def fields_of(model: type[BaseModel], record: type) -> tuple[Any, ...]:
    """Return the fields of `model` that the dataclass `record` has, for `.objects(record)`."""
    names = (field.name for field in dataclasses.fields(record))
    return tuple(model._meta.fields[name] for name in names if name in model._meta.fields)


def is_any(field: Any, values: Collection[Any]) -> Any:
    """Return the SQL condition that `field` is one of `values`, sent as one array.

    `in_` sends each value by itself, and the time to build the statement grows with their number.
    """
    return field == peewee.fn.ANY(peewee.Value(list(values), converter=False, unpack=False))


def time_after(seconds: Any) -> Any:
    """Return the time in so many seconds, a number or SQL, by the clock of the database."""
    return peewee.fn.clock_timestamp() + peewee.fn.make_interval(0, 0, 0, 0, 0, 0, seconds)
