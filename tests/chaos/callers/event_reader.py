"""Read the log of events by its cursor while everything is broken."""

from __future__ import annotations

import contextlib
import threading

import grpc
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import Acknowledgements
from tests.chaos.callers.retrying_client import GivenUp, RetryingClient

# Small pages, so that there are many cursors.
PAGE = 7
WAIT_S = 2
CHANGED = "case.changed"


class EventReader:
    """Follows the log from its beginning. `events`: what it has read, in order."""

    def __init__(self, client: RetryingClient, ledger: Acknowledgements) -> None:
        self.events: list[pb.Event] = []
        self._client = client
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)

    def start(self) -> None:
        """Follow the log from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Read no further page."""
        self._stop.set()
        self._thread.join()

    def changes(self, number: str) -> list[pb.Event]:
        """Return the changes of a case that were read so far."""
        return [
            event
            for event in list(self.events)
            if event.event.type == CHANGED and event.event.data.process_number == number
        ]

    def finish(self) -> None:
        """Stop following, and read the rest of the log. Raises GivenUp."""
        self.stop()
        while self._read(0):
            pass

    def _follow(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(GivenUp):
                try:
                    self._read(WAIT_S)
                except grpc.RpcError as error:
                    self._ledger.problems.append(f"ListEvents: {error!r}")
                    return

    def _read(self, wait_s: int) -> bool:
        """Read one page. Return whether there may be more."""
        answer: pb.ListEventsResponse = self._client.call(
            "ListEvents",
            pb.ListEventsRequest(
                after_cursor=self.events[-1].cursor if self.events else "",
                page_size=PAGE,
                wait=Duration(seconds=wait_s),
                without_documents=True,
            ),
        )
        self.events.extend(answer.events)
        return bool(answer.events)
