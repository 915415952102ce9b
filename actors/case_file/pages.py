"""Whether a list in the portal's answer is only one page of several. Pure.

Autos requests a case once, so a page would lose the rest of its documents. Frameworks state the
number of pages or entries, or the next page, in different fields. The case of letters and the
separators of words do not matter: `total_pages` is `totalPages`.
"""

from __future__ import annotations

import re
from typing import Any

from actors.contents.json_fields import count_at

_IS_LAST = frozenset({"last", "islast", "ultima", "islastpage", "ultimapagina"})
# Not `possuiMaisDeUmaParte` and `temProximaAudiencia`.
_HAS_MORE = re.compile(
    r"has(?:next|more)\w*|more|(?:is)?truncated|incomplete"
    r"|(?:tem|possui)(?:mais|proxim[ao]s?)"
    r"(?:paginas?|registros?|itens|resultados?|elementos?|entradas?|dados|documentos?)?"
)
_NEXT = re.compile(
    r"(?:next|proxim[ao])(?:page|pagina|cursor|token|pagetoken|link|url|href|offset)?"
)
# `quantidadePaginas` is left out: it is the number of pages of paper.
_PAGES = re.compile(r"total(?:of)?pages?|pages?(?:count|total)|numberofpages")
_PAGES_OF_LIST = re.compile(r"total(?:de)?paginas|pages")
_NOUNS = r"(?:elements?|elementos|registros?|items?|itens|count|records|results|resultados|entries)"
_ENTRIES = re.compile(
    rf"(?:total|qtde?|quantidade)(?:de|of)?{_NOUNS}|(?:elements|items?|results?|records?)(?:count|total)"
)
_DOCUMENTS = re.compile(r"(?:total|qtde?|quantidade)(?:de|of)?(?:documentos|documents)")
_ENTRIES_OF_LIST = re.compile(
    r"total|count|quantidade(?:total)?|qtde?(?:total)?|numfound|totalhits|" + _DOCUMENTS.pattern
)
# The objects in which some frameworks put these fields.
_PAGE = frozenset({"page", "pageable", "pageinfo", "pagination", "paginacao", "paging"})
_PAGE_OF_LIST = _PAGE | {"meta", "metadata", "links"}
_SEPARATORS = re.compile(r"[^a-z]")


def is_page_of_more(value: object, size: int | None = None) -> bool:
    """Return whether an object states that the list in it is incomplete.

    `size` is the number of entries that were found in it; None: those of all its lists.
    """
    if not isinstance(value, dict):
        return False
    found = size_of(value) if size is None else size
    if found is None:
        return False
    stated = _stated(value, _PAGE_OF_LIST)
    return _is_of_more(stated, found) or any(
        (name in _IS_LAST and each.get(key) is False)
        or (_NEXT.fullmatch(name) and each.get(key))
        or (_PAGES_OF_LIST.fullmatch(name) and (count_at(each, key) or 0) > 1)
        or (_ENTRIES_OF_LIST.fullmatch(name) and (count_at(each, key) or 0) > found)
        for name, key, each in stated
    )


def is_beside_page(value: dict[str, Any], size: int | None) -> bool:
    """Return whether an object with a list in a field states that this list is incomplete.

    `size` is the number of entries of the list, None if there is no list. The object has other
    fields, too, so only names that every framework uses for pages count.
    """
    return _is_of_more(_stated(value, _PAGE), size)


def size_of(value: dict[str, Any]) -> int | None:
    """Return the number of entries of all lists in an object, None if there is no list."""
    lists = [each for each in value.values() if isinstance(each, list)]
    return sum(map(len, lists)) if lists else None


def stated_documents(value: dict[str, Any]) -> int:
    """Return the number of documents that a field of an object states, 0 without such a field."""
    return max((count_at(value, key) or 0 for key in value if _is_count(key)), default=0)


def _is_count(key: str) -> bool:
    return _DOCUMENTS.fullmatch(_plain(key)) is not None


def _stated(value: dict[str, Any], inner: frozenset[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the fields that may describe a list: the plain name, the name and the object."""
    objects = [value, *(v for k, v in value.items() if _plain(k) in inner and isinstance(v, dict))]
    return [(_plain(key), key, each) for each in objects for key in each]


def _is_of_more(stated: list[tuple[str, str, dict[str, Any]]], size: int | None) -> bool:
    return any(
        (_HAS_MORE.fullmatch(name) and each.get(key) is True)
        or (_PAGES.fullmatch(name) and (count_at(each, key) or 0) > 1)
        or (size is not None and _ENTRIES.fullmatch(name) and (count_at(each, key) or 0) > size)
        for name, key, each in stated
    )


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name.lower())
