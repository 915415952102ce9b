"""A feed: the messages about one job, serialized once for all of its watchers in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple, Protocol
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from server.errors import ShuttingDown
from server.messages import SerializedDocument, envelope_prefix, set_place
from server.queue.queue_position_cache import QueuePositionCache
from server.queue.queue_view import QueueStatus
from storage.portal.slots import court_of
from storage.states import JOB_ENDS

ENDED = frozenset(pb.JobState.Value(f"JOB_STATE_{state}") for state in JOB_ENDS)


@dataclass(frozen=True, slots=True)
class Change:
    """The current job, and its documents that changed, in the order of their revisions."""

    job: pb.Job
    documents: Sequence[SerializedDocument]


class Delta(NamedTuple):
    """The messages that bring a watcher from an earlier revision up to date, in this order."""

    documents: list[bytes]
    job: bytes
    revision: int
    is_ended: bool


class Follower(Protocol):
    """A call that follows a feed: a WatchProgress stream, or a WaitJob."""

    @property
    def revision(self) -> int:
        """The revision of the job that the call has; it needs only the changes after it."""

    async def follow(self, feed: Feed) -> None:
        """Return when the job has ended. Raises the error that `send_away` passed."""

    def wake(self) -> None:
        """Make the call read the feed again."""

    def send_away(self, farewell: ShuttingDown) -> None:
        """End the call, because this process ends."""


class Feed:
    """One job, and its documents that changed after the revision `floor`."""

    def __init__(self, job: pb.Job, places: QueuePositionCache) -> None:
        self.job_id = UUID(job.job_id)
        self.watchers: set[Follower] = set()
        self.floor = job.revision
        self.court = court_of(job.process_number)
        self._job = job
        self._places = places
        # The documents that changed after `floor`, by id, in the order of their revisions.
        self._tail: dict[str, SerializedDocument] = {}
        # The serialized job, and the message of a change with it: each with the revision and the
        # queue status that it was made from.
        self._job_bytes: tuple[int, QueueStatus, bytes] | None = None
        self._news: tuple[int, QueueStatus, bytes] | None = None

    @property
    def job(self) -> pb.Job:
        """Return the last known job without its queue status. It is shared: do not change it."""
        return self._job

    @property
    def revision(self) -> int:
        """Return the revision of the last known job."""
        return self._job.revision

    @property
    def is_ended(self) -> bool:
        """Return True if the job's run has ended."""
        return self._job.state in ENDED

    def take(self, change: Change, after_revision: int) -> None:
        """Add a reading: all documents that changed after `after_revision`.

        If revisions between the feed's and the reading's are missing, the reading is dropped. This
        happens if the feed was closed and opened again for other watchers after the request.
        """
        if after_revision < self.floor <= change.job.revision:
            self._add_older(change.documents)
            self.floor = after_revision
        if after_revision <= self.revision < change.job.revision:
            for document in change.documents:
                if document.revision > self.revision:
                    # The document moves to the end, so the tail stays in the order of revisions.
                    self._tail.pop(document.document_id, None)
                    self._tail[document.document_id] = document
            self._job = change.job
            self.wake()

    def _add_older(self, documents: Iterable[SerializedDocument]) -> None:
        older = {
            document.document_id: document
            for document in documents
            if document.revision <= self.floor and document.document_id not in self._tail
        }
        self._tail = {**older, **self._tail}

    def wake(self) -> None:
        """Make every watcher read the feed again."""
        for watcher in self.watchers:
            watcher.wake()

    def forget(self) -> None:
        """Drop changes that every watcher has received. For a later watcher the rows are read."""
        if not self._tail:
            return
        received = min((watcher.revision for watcher in self.watchers), default=self.revision)
        if received > self.floor:
            self._tail = {
                name: each for name, each in self._tail.items() if each.revision > received
            }
            self.floor = received

    def opening(self, revision: int) -> bytes:
        """Return the first message of a stream: the job and the watcher's revision."""
        return envelope_prefix(revision) + self._serialized_job()

    def news(self, revision: int) -> Delta:
        """Return all known changes after `revision`, which must not be below the floor."""
        # The tail is in the order of revisions, so the loop reads only its newer end.
        newer = takewhile(lambda each: each.revision > revision, reversed(self._tail.values()))
        documents = [each.message for each in newer]
        documents.reverse()
        return Delta(documents, self._job_message(), self.revision, self.is_ended)

    def _job_message(self) -> bytes:
        place = self._places.of(self.job_id)
        if self._news is None or not _is_of(self._news, self.revision, place):
            self._news = (
                self.revision,
                place,
                envelope_prefix(self.revision) + self._serialized_job(),
            )
        return self._news[2]

    def _serialized_job(self) -> bytes:
        """Return the serialized job with its current queue status."""
        place = self._places.of(self.job_id)
        if self._job_bytes is None or not _is_of(self._job_bytes, self.revision, place):
            self._job_bytes = self.revision, place, self._placed_job(place)
        return self._job_bytes[2]

    def _placed_job(self, place: QueueStatus) -> bytes:
        message = pb.WatchProgressResponse(job=self._job)
        if not self.is_ended:
            set_place(message.job, place)
        return message.SerializeToString()


def _is_of(serialized: tuple[int, QueueStatus, bytes], revision: int, place: QueueStatus) -> bool:
    """Return True if a message was serialized from this revision and queue status."""
    return serialized[0] == revision and serialized[1] is place
