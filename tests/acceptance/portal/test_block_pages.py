"""Test that pages a firewall sends instead of documents are never stored unnoticed."""

from __future__ import annotations

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from storage.portal.doubts import ALIKE_MAX
from tests.system.job_calls import documents, run
from tests.system.running_autos import Autos


def test_html_without_sizes_is_stored_and_marked_unverified(hasty: Autos) -> None:
    number = hasty.portal.add_case(documents=12, kind="html", has_arquivo=False)
    job = run(hasty, number)
    assert job.state == pb.JOB_STATE_COMPLETED
    assert all(document.unverified for document in documents(hasty, job))
    case = hasty.portal.case(number)
    assert case
    assert {hasty.portal.request_count(document.uuid) for document in case.documents} == {2}


def test_pdfs_without_sizes_are_requested_once_and_not_unverified(hasty: Autos) -> None:
    number = hasty.portal.add_case(documents=6, has_arquivo=False)
    job = run(hasty, number)
    assert job.state == pb.JOB_STATE_COMPLETED
    assert not any(document.unverified for document in documents(hasty, job))
    case = hasty.portal.case(number)
    assert case
    assert {hasty.portal.request_count(document.uuid) for document in case.documents} == {1}


@pytest.mark.parametrize("page", ["block-page", "block-text", "changing-page"])
@pytest.mark.parametrize("kind", ["html", "pdf"])
def test_a_block_page_is_no_document(hasty: Autos, page: str, kind: str) -> None:
    faults = dict.fromkeys(range(20), page)
    number = hasty.portal.add_case(documents=20, kind=kind, has_arquivo=False, faults=faults)
    found = documents(hasty, run(hasty, number))
    stored = [document for document in found if document.state == pb.DOCUMENT_STATE_AVAILABLE]
    # The first copies of a text are stored before enough others show that it is repeated.
    assert len(stored) <= (ALIKE_MAX if kind == "html" else 0)
    assert all(document.unverified for document in stored)
    assert {document.error.reason for document in found if document not in stored} == {
        "NOT_A_DOCUMENT"
    }
