"""Split a PL/pgSQL function into its statements, each in a function of the same head.

Names, types and settings are those of the real function, so PostgreSQL plans each statement as it
does there. A call needs no values: a generic plan does not depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from storage import models, sql

TABLES = tuple(
    getattr(models, name)._meta.table_name for name in models.__all__ if name != "BaseModel"
)

_TABLE = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO)\s+(?:{'|'.join(TABLES)})\b")
_READ = re.compile(rf"\b(?:FROM|JOIN|UPDATE)\s+({'|'.join(TABLES)})\b")
_COMMENT = re.compile(r"--[^\n]*")
_BODY = re.compile(
    r"(?P<head>CREATE .*?)AS \$body\$\s*(?P<option>#\w+ \w+)?\s*(?:DECLARE(?P<variables>.*?))?"
    r"^BEGIN$(?P<statements>.*)^END\s*\$body\$",
    re.DOTALL | re.MULTILINE,
)
# Up to a semicolon, except one in a quoted text.
_SEGMENT = re.compile(r"(?:'[^']*'|[^;'])+")
_RECORD = re.compile(r"^\s*(\w+) record;", re.MULTILINE)
# Control words that stand before a statement or in place of one.
_CONTROL = re.compile(
    r"\s*(<<\w+>>|BEGIN\b|ELSE\b|LOOP\b|EXCEPTION WHEN \w+ THEN|FOREACH .*? LOOP\b|END\b.*)",
    re.DOTALL,
)
_LOOP = re.compile(r"\s*(FOR .*? LOOP)\b", re.DOTALL)
_JUMP = re.compile(r"\s*(?:EXIT|CONTINUE)(?: \w+)? WHEN\b", re.DOTALL)
_CONDITION = re.compile(r"\s*(?:ELS)?IF\b")
_CASE = re.compile(r"\b(CASE|END|THEN)\b")


@dataclass(frozen=True, slots=True)
class FunctionStatement:
    """A statement of a function. `definition` replaces the function's body by it alone."""

    text: str
    definition: str


def tables_named(text: str) -> int:
    """Return how often a text names a table that it reads or writes."""
    return len(_TABLE.findall(text))


def tables_read(text: str) -> set[str]:
    """Return the tables that a statement reads, or changes rows of."""
    return set(_READ.findall(text))


def function_statements(name: str) -> list[FunctionStatement]:
    """Return the statements of the PL/pgSQL function `name` that name a table.

    Raises ValueError if one of them is not found.
    """
    body = _BODY.search(_COMMENT.sub("", sql.function(name).definition))
    if body is None:
        raise ValueError(f"{name}.sql is no PL/pgSQL function")
    variables = body["variables"] or ""
    everything = list(_statements(body["statements"]))
    found = [text.strip() for text in everything if tables_named(text)]
    if sum(map(tables_named, found)) != tables_named(body["statements"]):
        raise ValueError(f"{name}.sql has a statement that is not found")
    records = [
        text
        for record in _RECORD.findall(variables)
        for text in everything
        if re.search(rf"\bFOR {record} IN\b|\bINTO (STRICT )?{record}\b", text)
    ]
    return [
        FunctionStatement(
            text,
            f"{body['head']} AS $body$ {body['option'] or ''}\nDECLARE {variables}\nBEGIN\n"
            + "".join(f"{each};\n" for each in (*records, text))
            + "END $body$",
        )
        for text in found
    ]


def _statements(body: str) -> Iterator[str]:
    """Yield the statements between the control words."""
    for segment in _SEGMENT.findall(body):
        yield from _without_control(segment)


def _without_control(rest: str) -> Iterator[str]:
    while rest.strip():
        if control := _CONTROL.match(rest):
            rest = rest[control.end() :]
        elif loop := _LOOP.match(rest):
            yield f"{loop[1]} EXIT; END LOOP"
            rest = rest[loop.end() :]
        elif jump := _JUMP.match(rest):
            yield f"IF {rest[jump.end() :]} THEN NULL; END IF"
            return
        elif condition := _CONDITION.match(rest):
            end = _then(rest, condition.end())
            yield f"IF {rest[condition.end() : end]} THEN NULL; END IF"
            rest = rest[end + len("THEN") :]
        else:
            yield rest
            return


def _then(text: str, start: int) -> int:
    """Return the position of the THEN of the IF before `start`, not of a CASE."""
    depth = 0
    for word in _CASE.finditer(text, start):
        if word[1] == "THEN" and depth == 0:
            return word.start()
        depth += {"CASE": 1, "END": -1, "THEN": 0}[word[1]]
    raise ValueError(f"IF without THEN: {text}")
