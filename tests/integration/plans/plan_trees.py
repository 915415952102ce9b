"""Read the plans that PostgreSQL makes: how each reads its tables.

With `debug_print_plan`, PostgreSQL sends the tree of every plan that it makes, also for statements
inside functions, which EXPLAIN does not show.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extensions

_PLAN = "{PLANNEDSTMT"
_TOKEN = re.compile(r'[{}()]|"(?:[^"\\]|\\.)*"|(?:[^\s{}()\\]|\\.)+')
_BY_INDEX = {"INDEXSCAN", "INDEXONLYSCAN", "BITMAPINDEXSCAN"}
_TABLE_ENTRY = "0"
# A column of the index itself, by number.
_FIRST_COLUMN = ("VAR", ["-3"], ["1"])
# An empty list, as PostgreSQL writes it.
_NOTHING = "<>"


@dataclass(slots=True)
class _Node:
    kind: str
    fields: dict[str, list[Any]] = field(default_factory=dict)

    def nodes(self) -> Iterator[_Node]:
        """Yield this node and all below."""
        yield self
        for values in self.fields.values():
            yield from _nodes_of(values)


@dataclass(frozen=True, slots=True)
class Scan:
    """How a plan reads a table: by which index, and whether a condition narrows it down.

    A condition on the first column of the index narrows it down, and so does one on the place of a
    row. Table and index are OIDs; `kind` is the kind of node.
    """

    table: int
    index: int | None
    kind: str
    has_condition: bool


def print_plans(connection: psycopg2.extensions.connection) -> None:
    """Keep the plans that PostgreSQL makes in this session for `scans`."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = log; SET debug_print_plan = on")
    # Of a list psycopg2 keeps the last 50 only.
    connection.notices = deque()  # type: ignore[assignment]


def scans(connection: psycopg2.extensions.connection) -> list[Scan]:
    """Return how the plans made since the last call read tables.

    `print_plans` was called before. Raises LookupError if no plan was made.
    """
    notices = list(connection.notices)
    connection.notices.clear()
    trees = [text[text.index(_PLAN) :] for text in notices if _PLAN in text]
    if not trees:
        raise LookupError("no plan was made")
    return [scan for tree in trees for scan in _scans(_parse(tree))]


def _scans(plan: _Node) -> Iterator[Scan]:
    entries = [node for node in _nodes_of(plan.fields["rtable"]) if node.kind == "RANGETBLENTRY"]
    for node in plan.nodes():
        place = node.fields.get("scan.scanrelid", node.fields.get("scanrelid"))
        if place is None:
            continue
        entry = entries[int(place[0]) - 1]
        if entry.fields["rtekind"] == [_TABLE_ENTRY] and node.kind != "BITMAPHEAPSCAN":
            yield Scan(
                table=int(entry.fields["relid"][0]),
                index=int(node.fields["indexid"][0]) if "indexid" in node.fields else None,
                kind=node.kind,
                has_condition=_has_condition(node),
            )


def _has_condition(scan: _Node) -> bool:
    if scan.kind in _BY_INDEX:
        return any(
            (node.kind, node.fields.get("varno"), node.fields.get("varattno")) == _FIRST_COLUMN
            for node in _nodes_of(scan.fields["indexqual"])
        )
    return scan.kind == "TIDSCAN" and scan.fields["tidquals"] != [_NOTHING]


def _nodes_of(values: list[Any]) -> Iterator[_Node]:
    for value in values:
        if isinstance(value, _Node):
            yield from value.nodes()
        elif isinstance(value, list):
            yield from _nodes_of(value)


def _parse(text: str) -> _Node:
    tree = _value(_TOKEN.findall(text)[::-1])
    assert isinstance(tree, _Node)
    return tree


def _value(rest: list[str]) -> Any:
    """Return the next value of the tokens `rest`; the last token comes first."""
    token = rest.pop()
    if token == "(":
        values = []
        while rest[-1] != ")":
            values.append(_value(rest))
        rest.pop()
        return values
    if token != "{":
        return token
    node, name = _Node(rest.pop()), ""
    while rest[-1] != "}":
        if rest[-1].startswith(":"):
            name = rest.pop()[1:]
            node.fields[name] = []
        else:
            node.fields[name].append(_value(rest))
    rest.pop()
    return node
