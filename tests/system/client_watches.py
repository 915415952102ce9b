"""Check the promises of every watch of the client, whatever failed on the way."""

from __future__ import annotations

from itertools import pairwise

from autos import JOB_ENDS, pb


def assert_all_once(messages: list[pb.WatchProgressResponse], listed: list[pb.Document]) -> None:
    """Assert that no change is missing or repeated and that the ended job comes last."""
    streamed = [message.document for message in messages if message.HasField("document")]
    jobs = [message.job for message in messages if message.HasField("job")]
    assert all(one.revision < other.revision for one, other in pairwise(streamed))
    assert all(one.revision < other.revision for one, other in pairwise(jobs))
    assert [job.state in JOB_ENDS for job in jobs] == [False] * (len(jobs) - 1) + [True]
    assert messages[-1].HasField("job")
    latest = {document.document_id: document for document in streamed}
    assert sorted(latest.values(), key=lambda d: d.sequence) == sorted(
        listed, key=lambda d: d.sequence
    )
    ends = [d.document_id for d in streamed if d.state >= pb.DOCUMENT_STATE_AVAILABLE]
    assert len(ends) == len(set(ends)), "a document ended twice"
