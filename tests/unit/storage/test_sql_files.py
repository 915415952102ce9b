"""Test how the folder of SQL files becomes statements and functions."""

from __future__ import annotations

import re

from storage import sql


def test_every_file_is_a_statement_or_the_function_of_its_name() -> None:
    paths = list(sql.FOLDER.rglob("*.sql"))
    assert sorted(path.stem for path in paths) == sorted(
        [*sql.statement_names(), *sql.function_names()]
    ), "a name exists twice"
    for path in paths:
        if "CREATE FUNCTION" in path.read_text():
            assert path.stem in sql.function_names()
            assert sql.function(path.stem).name.startswith(f"autos_{path.stem}_")
        else:
            assert sql.statement(path.stem).strip()


def test_a_definition_names_every_function_with_its_digest() -> None:
    for name in sql.function_names():
        found = set(re.findall(r"\bautos_\w+", sql.function(name).definition))
        allowed = {sql.function(other).name for other in (name, *sql.called_functions(name))}
        assert found <= allowed | {f"autos_{name}"}
