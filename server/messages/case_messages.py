"""Conversion of a case's data to the contract's messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from storage.listings.case_answer import StoredAnswer

# A gRPC client refuses messages above 4 MiB unless it is told otherwise.
MOST_BYTES = 3_500_000


def case_message(answer: StoredAnswer) -> pb.Case:
    """Return the message of a case. Above MOST_BYTES the oldest movements are left out first."""
    case = pb.Case(
        process_number=answer.process_number,
        court=answer.data.get("court", ""),
        secrecy_level=answer.secrecy_level,
        sealed=answer.is_sealed,
        proceedings=[_proceeding(each) for each in answer.data.get("proceedings", ())],
        listed_time=timestamp(answer.listed_time),
        listing_sha256=answer.sha256,
    )
    for field in ("movements", "parties"):
        while case.ByteSize() > MOST_BYTES and any(getattr(p, field) for p in case.proceedings):
            longest = max(case.proceedings, key=lambda each: len(getattr(each, field)))
            entries = getattr(longest, field)
            del entries[len(entries) // 2 :]
    return case


def _proceeding(data: dict[str, Any]) -> pb.Proceeding:
    # A newer release may have recorded more than this one shows.
    return ParseDict(data, pb.Proceeding(), ignore_unknown_fields=True)
