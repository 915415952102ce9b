"""Test that a watch over broken streams yields all once, in order, with the end last."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from autos._client.watching import JOB_ENDS, Resume
from autos.downloads.v1 import downloads_pb2 as pb

JOB_ID = "3c4e47ff-d6e0-4ccd-8686-fe6a87b0b785"
NUMBER = "1003579-22.2025.8.26.0564"
DOCUMENTS = 4


class World:
    """A job in which every step changes a document or the job, and a server that streams it."""

    def __init__(self, steps: list[int]) -> None:
        self._steps = steps
        self.revision = 0
        self.documents: dict[str, int] = {}

    @property
    def has_ended(self) -> bool:
        return self.revision == len(self._steps) + 1

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            if self.has_ended:
                return
            if self.revision < len(self._steps) and self._steps[self.revision] < DOCUMENTS:
                self.documents[f"d{self._steps[self.revision]}"] = self.revision + 1
            self.revision += 1

    def job(self) -> pb.Job:
        state = pb.JOB_STATE_COMPLETED if self.has_ended else pb.JOB_STATE_PROCESSING
        return pb.Job(job_id=JOB_ID, revision=self.revision, state=state)

    def stream(
        self, request: pb.WatchProgressRequest, pace: Iterator[int]
    ) -> Generator[pb.WatchProgressResponse, None, None]:
        """Answer WatchProgress as server/rpc/service.py does."""
        received = request.after_revision
        yield pb.WatchProgressResponse(revision=received, job=self.job())
        while True:
            now, job, ended = self.revision, self.job(), self.has_ended
            changed = sorted((r, d) for d, r in self.documents.items() if r > received)
            for revision, document_id in changed:
                document = pb.Document(document_id=document_id, revision=revision)
                yield pb.WatchProgressResponse(revision=revision, document=document)
            if now > received or ended:
                received = now
                yield pb.WatchProgressResponse(revision=now, job=job)
            if ended:
                return
            self.go_on(next(pace))
            if self.revision == received:
                yield pb.WatchProgressResponse(revision=received, heartbeat=pb.Heartbeat())


@given(
    steps=st.lists(st.integers(0, DOCUMENTS), max_size=12),
    pace=st.lists(st.integers(0, 4), max_size=30),
    cuts=st.lists(st.integers(0, 6), max_size=30),
    by_number=st.booleans(),
)
def test_over_any_cuts_all_is_yielded_once_in_order_with_the_end_last(
    steps: list[int], pace: list[int], cuts: list[int], by_number: bool
) -> None:
    world, resume = World(steps), Resume(NUMBER if by_number else JOB_ID)
    paces, cut_after, received = (
        _then(pace, 1),
        _then(cuts, 1_000),
        list[pb.WatchProgressResponse](),
    )
    for _ in range(1_000):
        request = resume.request(1).request
        # The server rejects a resumed stream that names its job by process number.
        assert not (request.after_revision and request.HasField("process_number"))
        left = next(cut_after)
        for message in world.stream(request, paces):
            if left == 0:
                break  # A cut may come before the last message, too.
            left -= 1
            if resume.take(message):
                received.append(message)
            if resume.is_over:
                break
        if resume.is_over:
            break
        world.go_on(next(paces))
    else:
        raise AssertionError("it never ends")

    jobs = [message.job for message in received if message.HasField("job")]
    documents = [message.document for message in received if message.HasField("document")]
    for one, next_one in pairwise(job.revision for job in jobs):
        assert one < next_one
    for one, next_one in pairwise(document.revision for document in documents):
        assert one < next_one
    assert [job.state in JOB_ENDS for job in jobs] == [False] * (len(jobs) - 1) + [True]
    assert received[-1].job == world.job()
    assert {d.document_id: d.revision for d in documents} == world.documents
    assert not any(message.HasField("heartbeat") for message in received)


@settings(max_examples=40)
@given(steps=st.lists(st.integers(0, DOCUMENTS), max_size=12), seen=st.integers(0, 12))
def test_a_watch_after_a_revision_yields_what_came_later(steps: list[int], seen: int) -> None:
    world = World(steps)
    world.go_on(1_000)
    resume = Resume(JOB_ID, min(seen, world.revision))

    stream = world.stream(resume.request(1).request, iter(()))
    received = [message for message in stream if resume.take(message)]

    assert resume.is_over
    assert [m.revision for m in received] == [
        *sorted(r for r in world.documents.values() if r > seen),
        world.revision,
    ]


def test_a_job_whose_last_change_was_not_sent_is_sent_when_the_stream_resumes() -> None:
    """The stream sent the documents but not the job, and the next change is far away."""
    world, resume = World([0, 1, 2, 3, 4]), Resume(JOB_ID)
    stream = world.stream(resume.request(1).request, iter([2]))
    assert [resume.take(next(stream)) for _ in range(3)] == [True, True, True]
    stream.close()

    [opening] = [next(world.stream(resume.request(1).request, iter(())))]

    assert resume.take(opening)
    assert opening.job.revision == 2


def test_a_message_that_a_server_repeats_is_not_repeated() -> None:
    """A server with a database that lags behind the one watched before repeats messages."""
    resume = Resume(JOB_ID)
    job = pb.Job(job_id=JOB_ID, revision=2, state=pb.JOB_STATE_PROCESSING)
    document = pb.Document(document_id="d", revision=2)
    messages = [
        pb.WatchProgressResponse(revision=0, job=job),
        pb.WatchProgressResponse(revision=2, document=document),
        pb.WatchProgressResponse(revision=2, job=job),
    ]

    received = [resume.take(message) for message in messages * 2]

    assert received == [True, True, False, False, False, False]
    assert resume.request(1).request.after_revision == 2


def _then(first: list[int], rest: int) -> Iterator[int]:
    yield from first
    while True:
        yield rest
