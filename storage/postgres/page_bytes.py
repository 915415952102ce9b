"""Pages of rows with columns of any length: a page ends when it has enough bytes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import SQL, Ordering, Select, fn

# A page ends after the row with which the columns reach this many stored bytes. In the messages
# they take about three times as many.
PAGE_BYTES = 1_000_000


def within_page_bytes(
    query: Any, names: Sequence[str], order: Sequence[str], long: Sequence[str]
) -> Any:
    """Return the query for the first rows of `query` that have about PAGE_BYTES of columns `long`.

    The first row is always one of them. `names`: the columns of `query`; each row also has `found`,
    the number of rows of `query`. `order`: the columns that order the rows, those with a hyphen in
    front from the largest value on. PostgreSQL reads the long values of no other row.
    """
    found = query.alias("found")
    first, *others = (fn.COALESCE(fn.pg_column_size(found.c[name]), 0) for name in long)
    own = sum(others, first)
    until_here = fn.SUM(own).over(order_by=_ordered(found, order))
    weighed = Select(
        [found],
        [
            *(found.c[name] for name in names),
            (until_here - own).alias("before"),
            fn.COUNT(SQL("*")).over().alias("found"),
        ],
    ).alias("weighed")
    return (
        Select([weighed], [*(weighed.c[name] for name in names), weighed.c.found])
        .where(weighed.c.before < PAGE_BYTES)
        .order_by(*_ordered(weighed, order))
        .dicts()
    )


def _ordered(table: Any, order: Sequence[str]) -> list[Ordering]:
    return [
        table.c[name[1:]].desc() if name.startswith("-") else table.c[name].asc() for name in order
    ]
