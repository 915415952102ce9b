"""Test that models and migrations define the same schema, down to each default and index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import pytest
from peewee import Check, Default, IntegerField, SchemaManager, TextField

from dev.embedded.embedded_servers import EmbeddedServers
from storage import models
from storage.models import BaseModel
from storage.models.base import reference, timestamp_now
from storage.models.document import Document
from storage.models.job import Job
from storage.postgres.database import Database, Transaction
from storage.postgres.migrate import migrate
from tests.databases import create_database

# In an order in which they can be created: a table comes after the tables that it refers to.
ALL = peewee.sort_models(  # type: ignore[attr-defined]
    [getattr(models, name) for name in models.__all__ if name != "BaseModel"]
)
# Everything in the schema except functions and the migration history, by kind and name.
_CATALOGUE = """
WITH tables AS (
    SELECT oid, relname::text AS name, relkind, relpersistence, reloptions FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
        AND relname <> 'schema_migration')
SELECT 'table ' || name AS name,
    concat_ws(' ', relkind, relpersistence, array_to_string(reloptions, ' ')) AS definition
FROM tables
UNION ALL
SELECT 'column ' || name || '.' || attname,
    concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
        'generated=' || attgenerated::text, 'identity=' || attidentity::text,
        'collation=' || attcollation::regcollation::text, 'default=' || pg_get_expr(adbin, adrelid))
FROM tables JOIN pg_attribute ON attrelid = oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || name || '.' || conname,
    concat_ws(' ', pg_get_constraintdef(pg_constraint.oid), 'validated=' || convalidated)
FROM tables JOIN pg_constraint ON conrelid = tables.oid
WHERE contype <> 'n'  -- NOT NULL, which is part of the column
UNION ALL
SELECT 'index ' || name || '.' || indexrelid::regclass, pg_get_indexdef(indexrelid)
FROM tables JOIN pg_index ON indrelid = oid
UNION ALL
SELECT 'trigger ' || name || '.' || tgname, pg_get_triggerdef(pg_trigger.oid)
FROM tables JOIN pg_trigger ON tgrelid = tables.oid
WHERE NOT tgisinternal
"""
Catalogue = dict[str, str]


def _create(database: Database, *models: type[BaseModel]) -> None:
    with database.raw() as db:
        for model in models:
            SchemaManager(model, db).create_all(safe=False)


def _catalogue(transaction: Transaction) -> Catalogue:
    return {row["name"]: row["definition"] for row in transaction.all(_CATALOGUE)}


def _differences(one: Catalogue, other: Catalogue) -> set[str]:
    """Return the names of objects that only one has, or that differ."""
    return {name for name, _ in one.items() ^ other.items()}


@contextmanager
def _rolled_back(database: Database) -> Iterator[Any]:
    """Yield peewee's database for changes that are rolled back."""
    with database.raw() as db, db.atomic() as changes:
        yield db
        changes.rollback()


@pytest.fixture(scope="module")
def modelled(servers: EmbeddedServers) -> Iterator[Database]:
    """Yield a database with its tables made from the models."""
    url = create_database(servers.env["DATABASE_URL"], "from_models")
    database = Database(url, max_connections=1)
    _create(database, *ALL)
    yield database
    database.close()


@pytest.fixture(scope="module")
def migrated(servers: EmbeddedServers) -> Iterator[Catalogue]:
    """Return the catalogue of a database with its tables made by the migrations."""
    url = create_database(servers.env["DATABASE_URL"], "from_migrations")
    database = Database(url, max_connections=1)
    migrate(database)
    with database.transaction() as transaction:
        yield _catalogue(transaction)
    database.close()


def test_models_and_migrations_define_the_same_schema(
    modelled: Database, migrated: Catalogue
) -> None:
    with modelled.transaction() as transaction:
        of_models = _catalogue(transaction)

    different = sorted(_differences(of_models, migrated))
    shown = [f"{name}: {of_models.get(name)} | {migrated.get(name)}" for name in different]
    assert not shown, "\n".join(["models | migrations", *shown])
    assert {f"table {model._meta.table_name}" for model in ALL} <= set(migrated)


def test_every_check_has_a_name_that_the_models_chose(migrated: Catalogue) -> None:
    checks = {
        name.partition(".")[2]
        for name, definition in migrated.items()
        if name.startswith("constraint ") and definition.startswith("CHECK")
    }
    named = {
        constraint.nodes[1]._path[0]
        for model in ALL
        for constraint in model._meta.constraints or ()
    }

    assert checks == named


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("ALTER TABLE jobs ADD COLUMN extra text", "column jobs.extra"),
        ("ALTER TABLE jobs DROP COLUMN expire_time", "column jobs.expire_time"),
        ("ALTER TABLE jobs ALTER COLUMN run TYPE bigint", "column jobs.run"),
        ("ALTER TABLE jobs ALTER COLUMN run SET DEFAULT 2", "column jobs.run"),
        ("ALTER TABLE jobs ALTER COLUMN run DROP DEFAULT", "column jobs.run"),
        ("ALTER TABLE jobs ALTER COLUMN client DROP NOT NULL", "column jobs.client"),
        ("ALTER TABLE jobs ALTER COLUMN court DROP EXPRESSION", "column jobs.court"),
        ("ALTER TABLE jobs ADD CONSTRAINT extra CHECK (true)", "constraint jobs.extra"),
        ("ALTER TABLE jobs DROP CONSTRAINT jobs_run", "constraint jobs.jobs_run"),
        (
            "ALTER TABLE jobs DROP CONSTRAINT jobs_run, ADD CONSTRAINT jobs_run CHECK (run >= 0)",
            "constraint jobs.jobs_run",
        ),
        (
            "ALTER TABLE requests DROP CONSTRAINT requests_job_id_fkey, ADD FOREIGN KEY (job_id)"
            " REFERENCES jobs (job_id)",
            "constraint requests.requests_job_id_fkey",
        ),
        ("CREATE INDEX extra ON jobs (client)", "index jobs.extra"),
        ("DROP INDEX jobs_active", "index jobs.jobs_active"),
        (
            "DROP INDEX jobs_unlisted; CREATE INDEX jobs_unlisted ON jobs (process_number)",
            "index jobs.jobs_unlisted",
        ),
        (
            "DROP INDEX jobs_listing; CREATE UNIQUE INDEX jobs_listing ON jobs (listing_lease)"
            " WHERE listing_lease IS NOT NULL",
            "index jobs.jobs_listing",
        ),
        ("ALTER TABLE documents RESET (fillfactor)", "table documents"),
        ("CREATE TABLE extra ()", "table extra"),
    ],
)
def test_a_schema_that_was_changed_is_different(
    modelled: Database, migrated: Catalogue, change: str, name: str
) -> None:
    with _rolled_back(modelled) as db:
        db.execute_sql(change)
        different = _differences(_catalogue(Transaction(db)), migrated)

    assert name in different


def _swept(table_settings: tuple[str, ...] = (), **changed: Any) -> type[BaseModel]:
    """Return a model of swept_objects with other fields."""
    meta = type("Meta", (), {"table_name": "swept_objects", "table_settings": table_settings})
    fields = {"object_key": TextField(primary_key=True), "sweep_time": timestamp_now(), **changed}
    return type("Changed", (BaseModel,), {**fields, "Meta": meta})


def _with_index(model: Any) -> type[BaseModel]:
    model.add_index(model.sweep_time, name="extra")
    changed: type[BaseModel] = model
    return changed


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (_swept(), set()),
        (_swept(extra=IntegerField(null=True)), {"column swept_objects.extra"}),
        (_swept(sweep_time=timestamp_now(null=True)), {"column swept_objects.sweep_time"}),
        (
            _swept(object_key=TextField(primary_key=True, constraints=[Default("''")])),
            {"column swept_objects.object_key"},
        ),
        (
            _swept(object_key=TextField(primary_key=True, constraints=[Check("true", "extra")])),
            {"constraint swept_objects.extra"},
        ),
        (_with_index(_swept()), {"index swept_objects.extra"}),
        (_swept(("WITH (fillfactor = 50)",)), {"table swept_objects"}),
        (
            _swept(job_id=reference(Job, null=True)),
            {"column swept_objects.job_id", "constraint swept_objects.swept_objects_job_id_fkey"},
        ),
    ],
)
def test_a_model_that_was_changed_is_different(
    modelled: Database, migrated: Catalogue, model: type[BaseModel], names: set[str]
) -> None:
    with _rolled_back(modelled) as db:
        db.execute_sql("DROP TABLE swept_objects")
        SchemaManager(model, db).create_all(safe=False)
        different = _differences(_catalogue(Transaction(db)), migrated)

    assert different == names


def test_no_model_is_bound_to_a_database() -> None:
    assert all(model._meta.database is None for model in ALL)
    with pytest.raises(Exception, match="database"):
        Document.select().execute()
