"""Test WatchProgress: the stream misses no change and repeats none."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from autos.downloads.v1 import downloads_pb2 as pb
from tests.sandbox.court_cases.cnj import process_number
from tests.system.job_calls import documents, run, start
from tests.system.running_autos import Autos
from tests.system.stream_checks import (
    ENDED,
    Message,
    assert_stream_ends,
    assert_stream_order,
    place,
    sent_documents,
    watch,
)

DOCUMENT_ENDS = {pb.DOCUMENT_STATE_AVAILABLE, pb.DOCUMENT_STATE_FAILED}


def test_a_running_job_is_streamed_from_its_start_to_its_end(autos: Autos) -> None:
    number = autos.portal.add_case(documents=20, faults={3: "file-404"})
    job = start(autos, number).job

    messages = list(watch(autos, job_id=job.job_id))

    assert_stream_order(messages)
    ended = assert_stream_ends(messages)
    assert ended.state == pb.JOB_STATE_PARTIALLY_COMPLETED
    latest = {document.document_id: document for document in sent_documents(messages)}
    assert sorted(latest.values(), key=place) == sorted(documents(autos, job), key=place)
    counts = [m.job.progress.completed_documents for m in messages if m.HasField("job")]
    assert counts == sorted(counts)
    assert counts[-1] == 19


def test_an_ended_job_gives_its_documents_and_its_end(autos: Autos) -> None:
    job = run(autos, autos.portal.add_case(documents=7))

    messages = list(watch(autos, job_id=job.job_id))

    assert_stream_order(messages)
    assert messages[0].job == messages[-1].job == job
    assert sorted(sent_documents(messages), key=place) == sorted(documents(autos, job), key=place)
    assert len(messages) == 1 + 7 + 1


def test_an_ended_job_sends_nothing_new_at_its_last_revision(autos: Autos) -> None:
    job = run(autos, autos.portal.add_case(documents=3))

    messages = list(watch(autos, job_id=job.job_id, after_revision=job.revision))

    assert_stream_order(messages, job.revision)
    assert [message.job for message in messages] == [job, job]


def test_a_case_that_the_portal_lacks_ends_in_the_stream(autos: Autos) -> None:
    job = start(autos, process_number(7_000_002)).job

    messages = list(watch(autos, job_id=job.job_id))

    ended = assert_stream_ends(messages)
    assert (ended.state, ended.error.reason) == (pb.JOB_STATE_FAILED, "NOT_FOUND")
    assert not sent_documents(messages)


def test_the_newest_job_of_a_case_is_watched_by_its_number(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2)
    run(autos, number)
    newest = run(autos, number)

    messages = list(watch(autos, process_number=number))

    assert_stream_order(messages)
    assert messages[0].job.job_id == newest.job_id
    assert assert_stream_ends(messages) == newest


def test_a_stream_cut_anywhere_goes_on_where_it_stopped(autos: Autos) -> None:
    number = autos.portal.add_case(documents=60, latency_s=0.03, faults={9: "503-once"})
    job = start(autos, number).job

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(_watch_in_pieces, autos, job.job_id, seed) for seed in range(4)]
        each = [watcher.result() for watcher in watchers]

    listed = {document.document_id: document for document in documents(autos, job)}
    for pieces in each:
        assert len(pieces) > 10, "hardly ever cut: the test shows nothing"
        seen = [document for piece in pieces for document in sent_documents(piece)]
        revisions = [document.revision for document in seen]
        assert revisions == sorted(set(revisions))
        assert {document.document_id: document for document in seen} == listed
        ends = [document.document_id for document in seen if document.state in DOCUMENT_ENDS]
        assert sorted(ends) == sorted(listed), "a document ended twice"


def _watch_in_pieces(autos: Autos, job_id: str, seed: int) -> list[list[Message]]:
    """Return a client's messages until the end; its stream breaks every few messages."""
    dice, revision = random.Random(seed), 0
    pieces: list[list[Message]] = []
    while True:
        stream = watch(autos, job_id=job_id, after_revision=revision)
        piece = list(islice(stream, dice.randint(1, 8)))
        stream.cancel()
        assert_stream_order(piece, revision)
        pieces.append(piece)
        revision = piece[-1].revision
        if len(piece) > 1 and piece[-1].HasField("job") and piece[-1].job.state in ENDED:
            return pieces


def test_all_watchers_get_the_same_messages_in_the_same_order(autos: Autos) -> None:
    number = autos.portal.add_case(documents=15)
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number, 5)

    with ThreadPoolExecutor(10) as pool:
        watchers = [pool.submit(list, watch(autos, job_id=job.job_id)) for _ in range(10)]
        autos.portal.release(number)
        each = [watcher.result() for watcher in watchers]

    listed = sorted(documents(autos, job), key=place)
    for messages in each:
        assert_stream_order(messages)
        assert_stream_ends(messages)
        latest = {document.document_id: document for document in sent_documents(messages)}
        assert sorted(latest.values(), key=place) == listed
