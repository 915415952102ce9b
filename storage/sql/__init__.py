"""Hot and locking statements: one `.sql` file each, in the folders here. A name exists once.

A file is one of two kinds:

- a statement, with `:name` parameters;
- a function: one `CREATE FUNCTION autos_<file>(_argument type, ...)`, whole in its file. `release`
  installs it under its name with a digest of its text, so that the processes of two releases run
  side by side, each with its own functions. A function calls another one of this folder by its
  plain name; the digest covers the text of what it calls.

Every statement inside a function sees what was committed before that statement began.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from peewee import Select, fn

FOLDER = Path(__file__).parent

# `:name`, but neither `::type` nor a part of a word.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_HEAD = re.compile(r"CREATE FUNCTION (autos_\w+)\s*\((.*?)\)\s*RETURNS\b", re.DOTALL)
_FUNCTION_NAME = re.compile(r"\bautos_\w+")
_COMMENT = re.compile(r"--[^\n]*")
_DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True)
class SqlFunction:
    """A function in PostgreSQL.

    `name` contains the digest, `definition` creates the function, `call` is the statement that
    selects from it, with a `%(argument)s` for each argument without its leading underscore.
    """

    name: str
    definition: str
    call: str


@cache
def statement(name: str) -> str:
    """Return the statement of `<name>.sql` in the driver's form: `%(parameter)s` for `:parameter`.

    Raises KeyError if there is no such file.
    """
    text = _COMMENT.sub("", _read(name)).replace("%", "%%")
    return _PARAMETER.sub(r"%(\1)s", text)


@cache
def function(name: str) -> SqlFunction:
    """Return the function of `<name>.sql`.

    Raises KeyError if there is no such file, ValueError if it does not create `autos_<name>`.
    """
    text = _read(name)
    head = _HEAD.search(text)
    if head is None or head.group(1) != f"autos_{name}":
        raise ValueError(f"{name}.sql does not create the function autos_{name}")
    for callee in called_functions(name):
        text = re.sub(rf"\bautos_{callee}\b", function(callee).name, text)
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
    full_name = f"autos_{name}_{digest}"
    definition = re.sub(rf"\bautos_{name}\b", full_name, text)
    definition = definition.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    # With their types, because an array that contains only NULL has none.
    arguments = ", ".join(
        f"%({argument.lstrip('_')})s::{kind}" for argument, kind in _arguments(head.group(2))
    )
    return SqlFunction(full_name, definition, f"SELECT * FROM {full_name}({arguments})")


def called_functions(name: str) -> tuple[str, ...]:
    """Return the functions of this folder that `<name>.sql` calls, sorted."""
    names = {found.removeprefix("autos_") for found in _FUNCTION_NAME.findall(_read(name))}
    return tuple(sorted((names & set(function_names())) - {name}))


@cache
def function_names() -> tuple[str, ...]:
    """Return the names of all files that create a function, sorted."""
    return tuple(name for name in sorted(_files()) if _HEAD.search(_read(name)))


def statement_names() -> tuple[str, ...]:
    """Return the names of all files that are a statement, sorted."""
    return tuple(sorted(_files().keys() - set(function_names())))


def install(db: Any) -> None:
    """Create every function of this folder in the database of peewee's `db`. Idempotent."""
    for name in function_names():
        # peewee passes an empty tuple of values to the driver, for which a lone % is an error.
        db.execute_sql(function(name).definition.replace("%", "%%"))


def is_installed(db: Any) -> bool:
    """Return whether the database of peewee's `db` has every function of this folder."""
    found = [fn.to_regproc(function(name).name) for name in function_names()]
    (row,) = Select(columns=found).tuples().execute(db)
    return None not in row


@cache
def _files() -> dict[str, Path]:
    return {path.stem: path for path in FOLDER.rglob("*.sql")}


@cache
def _read(name: str) -> str:
    return _files()[name].read_text()


def _arguments(text: str) -> list[tuple[str, str]]:
    parts = (part.split(None, 1) for part in _COMMENT.sub("", text).split(",") if part.strip())
    return [(name, kind.strip()) for name, kind in parts]
