"""Test the contract's messages: unset values stay unset, and percent is never too high."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from actors.contract_messages import (
    document_message,
    job_message,
    percent,
    timestamp,
    webhook_message,
)
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from server.messages import set_place
from server.queue.queue_view import NOWHERE, QueueStatus
from storage.errors import Failure
from storage.health.holds import Hold
from storage.priorities import Priority
from storage.records import AttemptRecord, DocumentRecord, JobRecord, WebhookRecord
from storage.states import DocumentState, JobState, WebhookState

MOMENT = datetime(2025, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)


def _job() -> JobRecord:
    return JobRecord(
        job_id=UUID(int=1),
        client="default",
        process_number="1003579-22.2025.8.26.0564",
        state="PENDING",
        run=1,
        revision=1,
        total_documents=None,
        completed_documents=0,
        failed_documents=0,
        cancelled_documents=0,
        reused_documents=0,
        stored_bytes=0,
        secrecy_level=None,
        error_reason=None,
        error_message=None,
        error_is_retryable=None,
        create_time=MOMENT,
        start_time=None,
        update_time=MOMENT,
        end_time=None,
        expire_time=None,
        max_age_s=3_600,
    )


def _document() -> DocumentRecord:
    return DocumentRecord(
        job_id=UUID(int=1),
        document_id=UUID(int=2),
        position=0,
        name="Petição inicial",
        kind="Petição",
        sequence=1,
        instance="G1",
        filed_local_time="2025-01-02T03:04:05",
        secrecy_level="PUBLICO",
        state="PENDING",
        revision=2,
        attempt_count=0,
        content_type=None,
        size_bytes=None,
        sha256=None,
        object_key=None,
        error_reason=None,
        error_message=None,
        error_is_retryable=None,
    )


def _webhook() -> WebhookRecord:
    return WebhookRecord(
        job_id=UUID(int=1),
        position=0,
        url="https://receiver.test/secret",
        state="WAITING",
        webhook_id=None,
        attempt_count=0,
        last_status_code=0,
        last_error="",
        delivered_time=None,
        next_attempt_time=None,
        attempts=(),
    )


def _placed(place: QueueStatus) -> pb.Job:
    message = job_message(_job())
    set_place(message, place)
    return message


@pytest.mark.parametrize(
    ("completed", "total", "shown"),
    [
        (8, 43, 18.6),
        (0, None, 0.0),
        (0, 0, 100.0),
        (0, 7, 0.0),
        (1, 3, 33.3),
        (2, 3, 66.7),
        (43, 43, 100.0),
        (9_999, 10_000, 99.9),
        (1, 100_000, 0.0),
    ],
)
def test_percent_has_one_decimal(completed: int, total: int | None, shown: float) -> None:
    assert percent(completed, total) == shown


@given(total=st.integers(1, 10**6), data=st.data())
@example(total=2_001, data=None)
def test_a_hundred_percent_is_kept_for_the_whole(total: int, data: st.DataObject | None) -> None:
    completed = data.draw(st.integers(0, total)) if data else total - 1

    shown = percent(completed, total)

    assert (shown == 100.0) == (completed == total)
    assert 0 <= shown <= 100
    assert shown == round(shown, 1)
    assert abs(shown - 100 * completed / total) <= 0.1


@given(total=st.integers(1, 5_000), completed=st.integers(0, 4_999))
def test_percent_never_goes_back(total: int, completed: int) -> None:
    if completed < total:
        assert percent(completed, total) <= percent(completed + 1, total)


def test_a_job_that_is_not_listed_has_no_total_no_times_and_no_error() -> None:
    message = job_message(_job())

    assert not message.progress.HasField("total_documents")
    for unset in ("start_time", "end_time", "expire_time", "error", "secrecy_level"):
        assert not message.HasField(unset), unset
    assert message.create_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert set(as_json(message)) == {
        *("job_id", "process_number", "state", "revision", "progress"),
        *("create_time", "update_time", "priority", "sealed"),
    }


def test_zero_documents_and_secrecy_level_zero_are_set() -> None:
    message = job_message(replace(_job(), total_documents=0, secrecy_level=0))

    assert message.progress.HasField("total_documents")
    assert message.HasField("secrecy_level")
    assert message.progress.percent == 100


def test_progress_counts_wanted_documents_only() -> None:
    chosen = {"kinds": ["Sentença"]}
    job = replace(_job(), total_documents=5, skipped_documents=3, completed_documents=1)

    message = job_message(replace(job, selections=[chosen]))

    progress = message.progress
    assert (progress.total_documents, progress.skipped_documents) == (5, 3)
    assert (progress.percent, progress.pending_documents) == (50.0, 1)
    assert [list(each.kinds) for each in message.selections] == [["Sentença"]]
    look = job_message(replace(job, skipped_documents=5, completed_documents=0, selections=[]))
    assert (look.progress.percent, look.list_only, message.list_only) == (100.0, True, False)
    # Before the listing nothing is done.
    assert job_message(replace(_job(), selections=[])).progress.percent == 0.0


def test_what_is_neither_done_nor_given_up_is_pending() -> None:
    message = job_message(
        replace(
            _job(),
            total_documents=43,
            completed_documents=8,
            failed_documents=3,
            cancelled_documents=2,
            reused_documents=1,
            stored_bytes=123,
        )
    )

    progress = message.progress
    assert progress.pending_documents == 43 - 8 - 3 - 2
    assert (progress.reused_documents, progress.stored_bytes) == (1, 123)
    assert progress.percent == pytest.approx(18.6)


def test_a_failure_has_its_reason() -> None:
    failed = replace(
        _job(), error_reason="NOT_FOUND", error_message="no such case", error_is_retryable=False
    )
    assert failed.failure == Failure("NOT_FOUND", "no such case", False)

    message = job_message(failed)

    assert message.error == pb.Error(reason="NOT_FOUND", message="no such case", retryable=False)


def test_what_vanished_is_named() -> None:
    gone = [UUID(int=7), UUID(int=8)]

    message = job_message(
        replace(_job(), vanished_documents=2, vanished_document_ids=gone, priority="BULK")
    )

    assert message.vanished_documents == 2
    assert list(message.vanished_document_ids) == [str(document_id) for document_id in gone]
    assert message.priority == pb.PRIORITY_BULK


HELD = QueueStatus(3, None, Hold("COURT_AWAY", "Court 8.26 does not answer.", MOMENT))


def test_a_place_has_the_values_that_are_known() -> None:
    held = _placed(HELD)
    expected = _placed(QueueStatus(None, MOMENT))

    assert held.queue_position == 3
    assert (held.hold.reason, held.hold.message) == ("COURT_AWAY", "Court 8.26 does not answer.")
    assert held.hold.until_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert not held.HasField("estimated_end_time")
    assert expected.estimated_end_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert not expected.HasField("queue_position")
    assert not expected.HasField("hold")


def test_a_new_place_leaves_nothing_of_the_one_before() -> None:
    message = _placed(HELD)

    set_place(message, NOWHERE)

    assert message == job_message(_job())


def test_a_job_that_an_older_release_froze_is_read_with_what_it_lacks() -> None:
    frozen = {
        name: value
        for name, value in {**_row(), "secrecy_level": None}.items()
        if name not in {"priority", "vanished_documents", "vanished_document_ids", "max_age_s"}
    }

    job = JobRecord.of_json(frozen)

    assert (job.priority, job.vanished_documents) == ("NORMAL", 0)
    assert list(job.vanished_document_ids) == []
    assert job_message(job) == job_message(_job())


def test_a_frozen_job_keeps_its_priority_and_what_vanished() -> None:
    gone = UUID(int=7)
    frozen = {
        **_row(),
        "priority": "HIGH",
        "vanished_documents": 1,
        "vanished_document_ids": [str(gone)],
    }

    job = JobRecord.of_json(frozen)

    assert (job.priority, job.vanished_documents, list(job.vanished_document_ids)) == (
        "HIGH",
        1,
        [gone],
    )


def _row() -> dict[str, object]:
    values = asdict(_job())
    times = {"create_time": MOMENT.isoformat(), "update_time": MOMENT.isoformat()}
    return {**values, **times, "job_id": str(UUID(int=1)), "vanished_document_ids": []}


@pytest.mark.parametrize(("level", "sealed"), [(None, True), (0, False), (1, True)])
def test_a_job_whose_secrecy_is_not_known_counts_as_sealed(level: int | None, sealed: bool) -> None:
    assert job_message(replace(_job(), secrecy_level=level)).sealed == sealed


def test_a_document_without_content_has_no_content_fields() -> None:
    message = document_message(_document(), is_sealed=False)

    assert (message.content_type, message.size_bytes, message.sha256) == ("", 0, "")
    assert message.object_key == ""
    assert not message.HasField("error")


def test_a_webhook_shows_the_url_it_is_given_and_no_other() -> None:
    message = webhook_message(_webhook(), "https://receiver.test/***")

    assert message.url == "https://receiver.test/***"
    assert not message.HasField("delivered_time")
    assert not message.HasField("next_attempt_time")


@pytest.mark.parametrize(
    ("names", "prefix", "known"),
    [
        (list(JobState), "JOB_STATE_", pb.JobState),
        (list(DocumentState), "DOCUMENT_STATE_", pb.DocumentState),
        (list(WebhookState), "WEBHOOK_STATE_", pb.WebhookState),
        (list(Priority), "PRIORITY_", pb.Priority),
    ],
)
def test_our_states_are_the_contracts(names: list[str], prefix: str, known: object) -> None:
    theirs = {name.removeprefix(prefix) for name, _ in known.items()}  # type: ignore[attr-defined]
    assert {str(name) for name in names} == theirs - {"UNSPECIFIED"}


def test_a_webhook_that_was_attempted_shows_its_attempts() -> None:
    message = webhook_message(
        replace(
            _webhook(),
            state="PENDING",
            webhook_id="msg_1",
            attempt_count=2,
            last_status_code=503,
            last_error="The receiver answered 503.",
            next_attempt_time=MOMENT,
            attempts=(AttemptRecord(1, MOMENT, 503, "The receiver answered 503."),),
        ),
        "shown",
    )

    [attempt] = message.attempts
    assert (attempt.number, attempt.status_code) == (1, 503)
    assert message.state == pb.WEBHOOK_STATE_PENDING
    assert message.next_attempt_time.ToDatetime(tzinfo=UTC) == MOMENT
    assert message.webhook_id == "msg_1"


def test_no_time_leaves_the_field_unset() -> None:
    assert timestamp(None) is None


@given(st.datetimes(timezones=st.timezones()))
@example(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(datetime(1970, 1, 1, tzinfo=UTC))
def test_a_moment_is_what_protobuf_makes_of_it(moment: datetime) -> None:
    theirs = Timestamp()
    try:
        theirs.FromDatetime(moment)
    except ValueError:
        return

    assert timestamp(moment) == theirs
