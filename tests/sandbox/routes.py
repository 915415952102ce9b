"""Map a request's path to its meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CASE = re.compile(r"/api/v2/processos/(?P<number>[0-9.-]+)")
_DOCUMENT = re.compile(
    _CASE.pattern + r"/documentos/(?P<uuid>[0-9a-fA-F-]{36})/(?P<what>binario|texto)"
)
_KINDS = {"binario": "file", "texto": "text"}


@dataclass(frozen=True)
class Route:
    """A parsed path. `kind`: see `request_log.PortalRequest`; "other": no route of /api/v2."""

    kind: str
    number: str | None = None
    uuid: str | None = None
    is_api: bool = False


def route_of(target: str) -> Route:
    """Return the route of `target`, the path as requested; its query does not matter."""
    path = target.partition("?")[0]
    if path.startswith("/sandbox/"):
        return Route("control")
    if not path.startswith("/api/v2/"):
        return Route("other")
    if match := _DOCUMENT.fullmatch(path):
        return Route(_KINDS[match["what"]], match["number"], match["uuid"].lower(), is_api=True)
    if match := _CASE.fullmatch(path):
        return Route("list", match["number"], is_api=True)
    return Route("other", is_api=True)
