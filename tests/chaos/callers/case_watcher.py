"""Watch a case, change it at the portal, and wait until each change is an event."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import grpc
import psycopg2

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.callers.event_reader import EventReader
from tests.chaos.callers.mixed_workload import SIZE_BYTES, WatchPlan
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.chaos_environment import ChaosEnvironment

LOOK_S = 1.0
PATIENCE_S = 150.0
HAS_BASELINE = "SELECT 1 FROM subscriptions WHERE baseline IS NOT NULL AND process_number = %s"
# A look has the priority BULK: it waits while a job of a higher one has work.
OTHERS_RUN = (
    "SELECT 1 FROM jobs WHERE end_time IS NULL AND priority <> 'BULK' AND process_number <> %s"
)
LET_DUE = "UPDATE subscriptions SET next_time = now() WHERE process_number = %s"


class CaseWatcher:
    """The caller that watches one case, until `stop` is set. `made`: changes at the portal."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        client: RetryingClient,
        reader: EventReader,
        plan: WatchPlan,
        stop: threading.Event,
    ) -> None:
        self.plan = plan
        self.at_s = plan.at_s
        self.path = f"/watch/{plan.index}"
        self.made = 0
        self._world = environment
        self._client = client
        self._reader = reader
        self._stop = stop

    def live(self) -> None:
        """Follow the whole plan. Raises GivenUp, or grpc.RpcError for another error."""
        number = self.plan.number
        wanted = pb.SubscribeCaseRequest(
            process_number=number, webhook_url=self._world.receiver.url_of(self.path)
        )
        self._client.call("SubscribeCase", wanted)
        if not self._looked_until("the baseline", lambda: self._is_row(HAS_BASELINE)):
            return
        for _ in range(self.plan.changes):
            self.made += 1
            self._world.portal.add_case(
                documents=self.plan.documents + self.made, size=SIZE_BYTES, number=number
            )
            if not self._looked_until(
                f"change {self.made}", lambda: len(self._reader.changes(number)) >= self.made
            ):
                return

    def unsubscribe(self) -> None:
        """End watching, so that no further look begins."""
        wanted = pb.UnsubscribeCaseRequest(process_number=self.plan.number)
        try:
            self._client.call("UnsubscribeCase", wanted)
        except grpc.RpcError as error:
            # An attempt without an answer may have done it.
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    def _looked_until(self, what: str, is_seen: Callable[[], bool]) -> bool:
        """Let looks be due until `is_seen`. Return whether that came true.

        The time limit begins anew while jobs run that go first.
        """
        until = time.monotonic() + PATIENCE_S
        while not is_seen():
            if self._stop.wait(LOOK_S):
                return False
            if self._is_row(OTHERS_RUN):
                until = time.monotonic() + PATIENCE_S
            if time.monotonic() > until:
                self._world.ledger.problems.append(
                    f"watched case {self.plan.number}: {what} did not come in {PATIENCE_S:.0f} s"
                )
                return False
            self._is_row(LET_DUE)
        return True

    def _is_row(self, statement: str) -> bool:
        """Run a statement without the proxies. Return whether it found a row."""
        url = self._world.servers.env["DATABASE_URL"]
        with (
            contextlib.suppress(psycopg2.Error),
            contextlib.closing(psycopg2.connect(url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, [self.plan.number])
            return cursor.rowcount > 0
        return False
