"""The methods of DownloadService that read a case's data."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from google.protobuf.json_format import ParseDict

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.current_client import current_client
from server.access.open_calls import OpenCalls
from server.rpc.service_base import Context, ServiceBase
from storage.listings import case_answer
from storage.listings.case_answer import StoredAnswer
from storage.process_number import parse_process_number

# A gRPC client refuses messages above 4 MiB unless it is told otherwise.
MOST_BYTES = 3_500_000


class CaseMethods(ServiceBase):
    """GetCase and GetCaseListing. Neither sends a request to the portal."""

    calls: OpenCalls

    async def GetCase(self, request: pb.GetCaseRequest, context: Context) -> pb.GetCaseResponse:
        """Return the data of a case from its newest listing for this client."""
        number, client = parse_process_number(request.process_number), current_client().name
        answer = await self.run(case_answer.newest, self._parts.database, client, number)
        case = await self._threads.read_page(_entries(answer), case_message, answer)
        return pb.GetCaseResponse(case=case)

    async def GetCaseListing(self, request: pb.GetCaseListingRequest, context: Context) -> None:
        """Stream the portal's answer to the newest listing of the case for this client."""
        number, client = parse_process_number(request.process_number), current_client()
        database, objects = self._parts.database, self._parts.objects
        parts = case_answer.newest_bytes(database, objects, client.name, number)
        try:
            while (part := await self.run(lambda: next(parts, None))) is not None:
                # A part that is not read holds a connection with the bucket.
                with self.calls.sending_part(client):
                    await context.write(pb.GetCaseListingResponse(chunk=part))
        finally:
            await self.run(_close, parts)


def _entries(answer: StoredAnswer) -> int:
    """Return how many movements and parties the data of a case has."""
    proceedings = answer.data.get("proceedings", ())
    return sum(len(each["movements"]) + len(each["parties"]) for each in proceedings)


def _close(parts: Generator[bytes]) -> None:
    # A thread still reads a part for a call that was cancelled; it drops the rest afterwards.
    with suppress(ValueError):
        parts.close()


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
