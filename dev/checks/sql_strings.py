"""Checks that no Python string of the product is an SQL statement.

Statements stand in storage/sql/ or are built from models. Conditions of constraints are allowed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("server", "actors", "storage")
# Migrations are SQL; the package of the SQL files builds calls from the names of functions.
EXEMPT = ("storage/migrations", "storage/sql/__init__.py")
# The stand-in for a value that an f-string inserts. Any name serves.
VALUE = "value"

_STATEMENT = re.compile(
    r"\bSELECT\b.+\bFROM\b"
    r"|^\s*\(?SELECT\b"
    r"|\bINSERT\s+INTO\b"
    r"|\bUPDATE\s+[\w.\"]+(\s+(AS\s+)?\w+)?\s+SET\b"
    r"|\bDELETE\s+FROM\b"
    r"|\bWITH\s+(RECURSIVE\s+)?\w+(\s*\([^)]*\))?\s+AS\s+(NOT\s+MATERIALIZED\s*|MATERIALIZED\s*)?\("
    r"|\bLOCK\s+TABLE\b"
    r"|^\s*SET\s+(LOCAL|SESSION)\b"
    r"|\b(CREATE|ALTER|DROP)\s+(TABLE|INDEX|UNIQUE\s+INDEX|FUNCTION|ROLE)\b"
    r"|^\s*(TRUNCATE|EXPLAIN|VACUUM|ANALYZE|LISTEN|NOTIFY|GRANT|REVOKE|MERGE\s+INTO)\s+[\w.\"]+",
    re.DOTALL,
)


def is_statement(text: str) -> bool:
    """Return True if a text looks like an SQL statement, or like the beginning of one."""
    return _STATEMENT.search(text) is not None


def statements(source: str) -> list[tuple[int, str]]:
    """Return (line, text) of each string of a Python source that looks like an SQL statement.

    Docstrings do not count. Strings that are joined, by `+` or one after the other, count as one.
    """
    return [(line, text) for line, text in _strings(ast.parse(source)) if is_statement(text)]


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.expr) and (text := _text(node)) is not None:
        yield node.lineno, text
        return
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _text(node: ast.expr) -> str | None:
    """Return the text of a string expression; None for any other expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else (left or VALUE) + (right or VALUE)
    return None


def _files() -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(EXEMPT):
                yield name, path


def main() -> int:
    """Return the exit code: 1 with one line for each statement found."""
    found = [
        f"{name}:{line}: SQL in a string: {' '.join(text.split())[:60]}"
        for name, path in _files()
        for line, text in statements(path.read_text())
    ]
    if found:
        print("\n".join([*found, "use a model, or a file in storage/sql/"]), file=sys.stderr)
        return 1
    print("no SQL statement in a Python string")
    return 0


if __name__ == "__main__":
    sys.exit(main())
