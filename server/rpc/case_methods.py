"""The methods of DownloadService that read a case's data."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from server.access.current_client import current_client
from server.access.open_calls import OpenCalls
from server.messages.case_messages import case_message
from server.rpc.service_base import ServiceBase
from storage.listings import case_answer
from storage.listings.case_answer import StoredAnswer
from storage.process_number import parse_process_number

Context = grpc.aio.ServicerContext[object, object]


class CaseMethods(ServiceBase):
    """GetCase and GetCaseListing. Neither sends a request to the portal."""

    calls: OpenCalls

    async def GetCase(self, request: pb.GetCaseRequest, context: Context) -> pb.GetCaseResponse:
        """Return the data of a case from its newest listing for this client."""
        number, client = parse_process_number(request.process_number), current_client().name
        answer = await self._run(case_answer.newest, self._parts.database, client, number)
        case = await self._threads.read_page(_entries(answer), case_message, answer)
        return pb.GetCaseResponse(case=case)

    async def GetCaseListing(self, request: pb.GetCaseListingRequest, context: Context) -> None:
        """Stream the portal's answer to the newest listing of the case for this client."""
        number, client = parse_process_number(request.process_number), current_client()
        database, objects = self._parts.database, self._parts.objects
        parts = case_answer.newest_bytes(database, objects, client.name, number)
        try:
            while (part := await self._run(lambda: next(parts, None))) is not None:
                # A part that is not read holds a connection with the bucket.
                with self.calls.sending_part(client):
                    await context.write(pb.GetCaseListingResponse(chunk=part))
        finally:
            await self._run(_close, parts)


def _entries(answer: StoredAnswer) -> int:
    """Return how many movements and parties the data of a case has."""
    proceedings = answer.data.get("proceedings", ())
    return sum(len(each["movements"]) + len(each["parties"]) for each in proceedings)


def _close(parts: Generator[bytes]) -> None:
    # A thread still reads a part for a call that was cancelled; it drops the rest afterwards.
    with suppress(ValueError):
        parts.close()
