"""Whether a list in the portal's answer is only one page of several. Pure.

Autos requests a case once, so a page would lose the rest of its documents. Frameworks state the
number of pages or entries in different fields.
"""

from __future__ import annotations

from typing import Any

from actors.contents.json_fields import count_at

_IS_LAST = ("last", "isLast", "ultima")
_HAS_MORE = ("hasNext", "hasNextPage", "hasMore", "more")
_PAGES = ("totalPages", "totalPaginas", "pageCount")
_ENTRIES = ("totalElements", "totalRegistros", "totalItems", "totalCount", "total", "count")
# The object in which some frameworks put these fields.
_PAGE = ("page", "pagination", "paginacao", "meta")


def is_page_of_more(value: object) -> bool:
    """Return whether an object with a list in it states that the list is incomplete."""
    if not isinstance(value, dict):
        return False
    lists = [each for each in value.values() if isinstance(each, list)]
    stated = [value, *(value[key] for key in _PAGE if isinstance(value.get(key), dict))]
    return bool(lists) and any(_is_of_more(each, sum(map(len, lists))) for each in stated)


def _is_of_more(stated: dict[str, Any], size: int) -> bool:
    has_next = stated.get("next") or any(stated.get(key) is True for key in _HAS_MORE)
    is_before_last = any(stated.get(key) is False for key in _IS_LAST)
    pages = max((count_at(stated, key) or 0 for key in _PAGES), default=0)
    entries = max((count_at(stated, key) or 0 for key in _ENTRIES), default=0)
    return bool(has_next) or is_before_last or pages > 1 or entries > size
