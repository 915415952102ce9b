"""A case as the portal lists it: plain values, shared by actors and storage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID, uuid5

# Never to change: stored documents are found again by what is derived from it.
_NAMESPACE = UUID("5d3c2c0e-6d0b-4b0e-9a55-7f1f6c1f3a10")


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """One document of a case, twins joined.

    `origin_id` is unique within the instance: the court's idOrigem, else the UUID of the link, else
    the place in the listing. `hrefs` are the paths
    that may be asked for, the preferred one first, relative to the portal's API. Without any,
    `refused_reason` is "NO_LINK" or "UNTRUSTED_LINK". Texts are safe for PostgreSQL; "" means that
    the court did not say.
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
    """All documents of a case in the order of the case file; secrecy level 0 is public."""

    secrecy_level: int | None
    documents: tuple[ListedDocument, ...]


def document_id(client: str, process_number: str, instance: str, origin_id: str) -> UUID:
    """The identity of a document, the same in every job of the case.

    `process_number` is the punctuated form.
    """
    # JSON, so that no two different quadruples give the same text.
    return uuid5(_NAMESPACE, json.dumps([client, process_number, instance, origin_id]))
