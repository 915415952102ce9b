"""A case as the portal lists it: plain values that actors and storage share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

# Never change this value: stored documents are found again by ids derived from it.
_NAMESPACE = UUID("5d3c2c0e-6d0b-4b0e-9a55-7f1f6c1f3a10")


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """One document of a case. Twins are joined into one document.

    `origin_id` is unique within the instance: the court's idOrigem, else the UUID of the link, else
    the position in the listing. `hrefs` are the paths that may be requested, the preferred one
    first, relative to the portal's API. If there is no path, `refused_reason` is "NO_LINK" or
    "UNTRUSTED_LINK". All texts are safe for PostgreSQL; "" means that the court gave no value.
    """

    instance: str
    origin_id: str
    name: str
    kind: str
    sequence: int
    filed_local_time: str
    secrecy_level: str
    hrefs: tuple[str, ...]
    listed_size_bytes: int | None
    listed_content_type: str | None
    refused_reason: str | None


@dataclass(frozen=True, slots=True)
class CaseListing:
    """All documents of a case in the order of the case file. Secrecy level 0 is public.

    `data`: the case's court and proceedings, as JSON. `answer`: the bytes of the portal's answer.
    """

    secrecy_level: int | None
    documents: tuple[ListedDocument, ...]
    data: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    answer: bytes = field(default=b"", repr=False, compare=False)


def document_id(client: str, process_number: str, instance: str, origin_id: str) -> UUID:
    """Return the id of a document, which is the same in every job of the case.

    `process_number` is in punctuated form.
    """
    # JSON keeps different quadruples different as text.
    return uuid5(_NAMESPACE, json.dumps([client, process_number, instance, origin_id]))
