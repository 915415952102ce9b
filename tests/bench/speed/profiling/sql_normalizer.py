"""Remove values from SQL, so that two calls of one statement are equal. Pure."""

from __future__ import annotations

import re

# The parts that differ between two calls of one statement, and lists of any length.
_VALUES = (
    (re.compile(r"'(?:[^']|'')*'(?:::\w+(?:\[\])?)?"), "?"),
    (re.compile(r"\b\d+(?:\.\d+)?\b|\bNULL\b"), "?"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\?(?:, ?\?)+"), "?"),
    (re.compile(r"\(\?\)(?:, ?\(\?\))+"), "(?)"),
)


def normalize(sql: str) -> str:
    """Return the normalized statement on one line."""
    for pattern, stand_in in _VALUES:
        sql = pattern.sub(stand_in, sql)
    return sql.strip()
