"""Test what callers choose of a case: look first, then fetch what they want of it."""

from __future__ import annotations

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.job_calls import documents, run
from tests.system.running_autos import Autos


def _files_requested(autos: Autos, number: str) -> int:
    return sum(each.kind == "file" for each in autos.portal.journal.requests(number))


def test_a_look_costs_one_request_and_the_choice_lists_nothing_again(autos: Autos) -> None:
    number = autos.portal.add_case(documents=4)
    path = "/look-first"

    look = run(autos, number, list_only=True, webhook_url=autos.receiver.url_of(path))

    assert look.state == pb.JOB_STATE_COMPLETED
    assert look.list_only
    assert (look.progress.total_documents, look.progress.skipped_documents) == (4, 4)
    assert (look.progress.percent, look.progress.pending_documents) == (100.0, 0)
    listed = documents(autos, look)
    assert {each.state for each in listed} == {pb.DOCUMENT_STATE_SKIPPED}
    assert autos.portal.request_count(number) == 1
    assert _files_requested(autos, number) == 0
    [delivery] = autos.receiver.wait_for(1, 60, path=path)
    assert delivery.payload["type"] == "download.completed"
    sent = delivery.payload["data"]["documents"]
    assert [each["state"] for each in sent] == ["DOCUMENT_STATE_SKIPPED"] * 4

    wanted = [listed[2].document_id, listed[0].document_id]
    chosen = run(autos, number, selection=pb.Selection(document_ids=wanted))

    assert chosen.state == pb.JOB_STATE_COMPLETED
    assert chosen.job_id != look.job_id
    assert [each.document_ids for each in chosen.selections] == [wanted]
    assert (chosen.progress.completed_documents, chosen.progress.skipped_documents) == (2, 2)
    assert {e.document_id for e in documents(autos, chosen) if e.object_key} == set(wanted)
    assert autos.portal.request_count(number) == 1
    assert _files_requested(autos, number) == 2
