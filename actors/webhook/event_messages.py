"""The message of an event, as webhooks carry it and ListEvents lists it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.json_format import ParseDict

from actors.contract_messages import document_message, job_message, timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from storage.records import DocumentRecord, JobRecord, is_sealed

URL_LIFETIME_S = 3_600
# The approximate length of a presigned URL in bytes. With it, an event that would be too large is
# recognized before thousands of URLs are signed.
URL_BYTES = 500
# A receiver may belong to others than the client. The client reads these fields with its token.
HIDDEN_IF_SEALED = ("name", "sha256", "object_key")


def event_message(
    type_: str,
    event_time: datetime,
    job: JobRecord,
    documents: Sequence[DocumentRecord],
    *,
    max_bytes: int,
    url_of: Callable[[str], tuple[str, datetime]] | None,
) -> pb.WebhookEvent:
    """Return an event. Its documents are omitted if they would exceed `max_bytes` of JSON.

    `url_of`: makes the URL of an object key and the time at which it expires; None: the event has
    no URLs. A sealed document has neither a URL nor a field that identifies it.
    """
    event = pb.WebhookEvent(
        type=type_,
        timestamp=timestamp(event_time),
        data=pb.WebhookData(
            job=job_message(job),
            documents=[
                document_message(d, is_sealed=is_sealed(job.secrecy_level, d.secrecy_level))
                for d in documents
            ],
        ),
    )
    if _is_too_large(event.data, max_bytes):
        event.data.ClearField("documents")
        event.data.documents_omitted = True
    for document in event.data.documents:
        if document.sealed:
            for field in HIDDEN_IF_SEALED:
                document.ClearField(field)
        elif document.object_key and url_of:
            url, expires = url_of(document.object_key)
            document.url = url
            document.url_expire_time.FromDatetime(expires)
    return event


def change_message(type_: str, event_time: datetime, change: Mapping[str, Any]) -> pb.WebhookEvent:
    """Return the event of a change. `change`: the column of the event."""
    fields = {**change}
    number = fields.pop("process_number")
    return pb.WebhookEvent(
        type=type_,
        timestamp=timestamp(event_time),
        data=pb.WebhookData(
            # A newer release may have recorded more than this one shows.
            change=ParseDict(fields, pb.CaseChange(), ignore_unknown_fields=True),
            process_number=number,
        ),
    )


def _is_too_large(data: pb.WebhookData, max_bytes: int) -> bool:
    urls = sum(URL_BYTES for document in data.documents if document.object_key)
    plain = compact([as_json(document) for document in data.documents])
    return len(plain) + urls > max_bytes


def compact(value: Any) -> bytes:
    """Return JSON without blanks, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
