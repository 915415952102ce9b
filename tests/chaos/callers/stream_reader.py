"""Follow a WatchProgress to the job's end, over every break of the stream."""

from __future__ import annotations

import threading

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.acknowledgements import ENDED, Acknowledgements
from tests.chaos.callers.retrying_client import RETRIED, RetryingClient

STREAM_S = 60.0
PAUSE_S = 0.3


class StreamReader:
    """Follows one job. `documents` holds the last message about each."""

    def __init__(self, client: RetryingClient, ledger: Acknowledgements, job_id: str) -> None:
        self._client = client
        self._ledger = ledger
        self.job_id = job_id
        self.documents: dict[str, pb.Document] = {}
        self.end: pb.Job | None = None
        self._revision = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Follow the job from a thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the job has ended, or `stop`."""
        self._thread.join()

    def stop(self) -> None:
        """Do not open another stream after the current one."""
        self._stop.set()

    def _follow(self) -> None:
        while self.end is None and not self._stop.wait(PAUSE_S):
            try:
                self._follow_once()
            except grpc.RpcError as error:
                self._ledger.count("WatchProgress", error.code().name)
                if error.code() not in RETRIED:
                    self._problem(f"{error.code().name}: {error.details()}")
                    return

    def _follow_once(self) -> None:
        """Read one stream. Only a stream that ends with OK has sent everything."""
        request = pb.WatchProgressRequest(job_id=self.job_id, after_revision=self._revision)
        request.heartbeat_interval.FromSeconds(2)
        job = pb.Job()
        for message in self._client.api.WatchProgress(request, timeout=STREAM_S):
            self._take(message)
            job = message.job if message.HasField("job") else job
            if self._stop.is_set():
                return
        self.end = job
        if job.state not in ENDED:
            self._problem(f"the stream ended with {pb.JobState.Name(job.state)}")

    def _take(self, message: pb.WatchProgressResponse) -> None:
        if message.revision < self._revision:
            self._problem(f"revision {message.revision} after {self._revision}")
        self._revision = message.revision
        if message.HasField("document"):
            document = message.document
            earlier = self.documents.get(document.document_id)
            if earlier is not None and earlier.revision >= document.revision:
                self._problem(f"document {document.document_id} was sent twice")
            self.documents[document.document_id] = document
        elif message.HasField("job"):
            self._ledger.see(message.job)

    def _problem(self, text: str) -> None:
        self._ledger.problems.append(f"watching job {self.job_id}: {text}")
