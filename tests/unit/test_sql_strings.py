"""Test the check that no Python string of the product is an SQL statement."""

from __future__ import annotations

import pytest

from dev.checks.sql_strings import main, statements

STATEMENTS = [
    'run("SELECT * FROM jobs WHERE job_id = %(job_id)s")',
    'run("SELECT job_id" " FROM jobs")',
    'run(f"SELECT {columns} FROM {table}")',
    'run("SELECT " + columns + " FROM jobs")',
    'run("SELECT clock_timestamp()")',
    'QUERY = """\n    INSERT INTO slots (scope, number) VALUES (1, 2)\n"""',
    'run("UPDATE jobs SET state = 1")',
    'run(f"UPDATE {table} AS old SET state = 1")',
    'run("DELETE FROM jobs")',
    'run("WITH due AS (TABLE webhooks) TABLE due")',
    'run("WITH due (id) AS MATERIALIZED (TABLE webhooks) TABLE due")',
    'run("LOCK TABLE jobs IN EXCLUSIVE MODE")',
    'run("SET LOCAL lock_timeout = 0")',
    'run("ALTER TABLE jobs ADD COLUMN x text")',
    'run({"sql": ["TRUNCATE jobs"]})',
]
OTHERS = [
    '"""The statement SELECT * FROM jobs is a docstring."""',
    "checks(\"jobs\", is_over=\"(end_time IS NULL) = (state IN ('PENDING', 'PROCESSING'))\")",
    'SQL("GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED")',
    "SQL(\"'-infinity'\")",
    'sql.statement("newest_jobs")',
    'log.warning("the update of the job was selected from others")',
    'raise Error("Update the login, then set PDPJ_TOKEN.")',
    'fn.set_config("lock_timeout", "0", True)',
]


@pytest.mark.parametrize("source", STATEMENTS)
def test_a_statement_in_a_string_is_found_once(source: str) -> None:
    assert len(statements(source)) == 1


@pytest.mark.parametrize("source", OTHERS)
def test_a_condition_or_a_sentence_is_no_statement(source: str) -> None:
    assert statements(source) == []


def test_the_product_has_none() -> None:
    assert main() == 0
