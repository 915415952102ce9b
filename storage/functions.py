"""Steps of a document's way as functions inside PostgreSQL: one round trip each, planned once.

A function's name holds a digest of its text, so that the processes of two releases run side by
side, each with its own, and an altered one is never met under an old name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_VALUE = re.compile(r"%\((\w+)\)s")


class Function:
    """A function in PL/pgSQL. `arguments` and `columns`: SQL types by name.

    Or, instead of columns, a table: then it gives rows of that.

    In `body`, `%(name)s` is an argument, as in a statement that is sent; so both can be made of
    the same pieces. Every statement in it sees what was committed before it began, as if it had
    been sent by itself. Without a row, nothing was changed.
    """

    def __init__(
        self, name: str, arguments: Mapping[str, str], columns: Mapping[str, str] | str, body: str
    ) -> None:
        # With a prefix: names of columns would mean both.
        takes = ", ".join(f"_{key} {kind}" for key, kind in arguments.items())
        if isinstance(columns, str):
            gives = f"SETOF {columns}"
        else:
            gives = f"TABLE ({', '.join(f'{key} {kind}' for key, kind in columns.items())})"
        inside = _VALUE.sub(r"_\1", body)
        text = (
            f"({takes}) RETURNS {gives} LANGUAGE plpgsql"
            # What is planned once is used when the tables have grown, too: rows are looked up by
            # their index, in its order, one by one.
            " SET enable_seqscan = off SET enable_bitmapscan = off"
            " SET enable_hashjoin = off SET enable_mergejoin = off"
            " SET plan_cache_mode = force_generic_plan"
            # Compiling a plan takes seconds, under locks.
            " SET jit = off"
            f" AS $body$\n#variable_conflict use_column\n{inside}\n$body$"
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.name = f"{name}_{digest}"
        self.definition = f"CREATE OR REPLACE FUNCTION {self.name} {text}"
        # With their types: an array of nothing but NULL has none.
        given = ", ".join(f"%({key})s::{kind}" for key, kind in arguments.items())
        self.call = f"SELECT * FROM {self.name}({given})"


def with_variables(statement: str, **variables: str) -> str:
    """A statement with variables of its function in place of some of its values."""
    for name, variable in variables.items():
        statement = statement.replace(f"%({name})s", variable)
    return statement


def install(db: Any, *functions: Function) -> None:
    """Makes them in the database of peewee's `db`. May be said twice."""
    for function in functions:
        # Without values nothing is replaced, so a % in it stays as it is.
        db.execute_sql(function.definition)
