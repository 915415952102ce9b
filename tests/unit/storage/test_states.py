"""Test the three state graphs: every state is reachable, and only a retry leaves an end."""

from __future__ import annotations

import pytest

from storage.states import (
    DOCUMENT_ENDS,
    DOCUMENT_MOVES,
    DOCUMENT_OPEN,
    IN_LANE,
    JOB_ENDS,
    JOB_MOVES,
    WEBHOOK_MOVES,
    DocumentState,
    JobState,
    State,
    WebhookState,
    moves_from,
    sources_of,
)

KINDS = (JobState, DocumentState, WebhookState)
ALL: tuple[State, ...] = (*JobState, *DocumentState, *WebhookState)
# A job without a webhook starts as PROCESSING.
STARTS: dict[type, set[State]] = {
    JobState: {JobState.PENDING, JobState.PROCESSING},
    DocumentState: {DocumentState.PENDING, DocumentState.SKIPPED},
    WebhookState: {WebhookState.WAITING},
}


def _reachable(starts: set[State]) -> set[State]:
    found: set[State] = set()
    ahead = set(starts)
    while ahead:
        state = ahead.pop()
        found.add(state)
        ahead |= set(moves_from(state)) - found
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_can_be_reached(kind: type[State]) -> None:
    assert _reachable(STARTS[kind]) == set(kind)


def test_every_state_has_its_line_in_a_table() -> None:
    assert set(JOB_MOVES) == set(JobState)
    assert set(DOCUMENT_MOVES) == set(DocumentState)
    assert set(WEBHOOK_MOVES) == set(WebhookState)


@pytest.mark.parametrize("state", ALL)
def test_a_move_stays_within_its_kind(state: State) -> None:
    assert all(type(target) is type(state) for target in moves_from(state))


@pytest.mark.parametrize("state", ALL)
def test_no_state_moves_to_itself(state: State) -> None:
    assert state not in moves_from(state)


@pytest.mark.parametrize("target", ALL)
def test_sources_are_the_inverse_of_moves(target: State) -> None:
    kind = type(target)
    assert sources_of(target) == tuple(sorted(s for s in kind if target in moves_from(s)))


def test_an_end_is_left_only_for_a_retry() -> None:
    for job_end in JOB_ENDS:
        assert moves_from(job_end) <= {JobState.PROCESSING}
    for document_end in DOCUMENT_ENDS:
        assert moves_from(document_end) <= {DocumentState.PENDING, DocumentState.AVAILABLE}


def test_what_is_complete_is_never_left() -> None:
    assert moves_from(JobState.COMPLETED) == frozenset()
    assert moves_from(DocumentState.AVAILABLE) == frozenset()


def test_a_document_that_is_not_over_can_be_given_up_from_everywhere() -> None:
    unfinished = set(DocumentState) - DOCUMENT_ENDS - {DocumentState.SKIPPED}

    assert unfinished == DOCUMENT_OPEN
    for end in (DocumentState.FAILED, DocumentState.CANCELLED):
        assert set(sources_of(end)) >= unfinished


def test_a_document_that_is_not_wanted_leaves_its_state_only_if_a_call_wants_it() -> None:
    wanted = {DocumentState.PENDING, DocumentState.AVAILABLE, DocumentState.FAILED}

    assert moves_from(DocumentState.SKIPPED) == wanted
    assert sources_of(DocumentState.SKIPPED) == ()


def test_a_retry_fetches_what_failed_or_finds_it_stored_by_another_job() -> None:
    assert moves_from(DocumentState.FAILED) == {DocumentState.PENDING, DocumentState.AVAILABLE}
    assert moves_from(DocumentState.CANCELLED) == frozenset()


def test_only_a_stored_file_makes_a_document_available() -> None:
    # The own object, stored from the spool or by the downloading worker, or for a retry or a wider
    # selection another job's.
    assert sources_of(DocumentState.AVAILABLE) == ("DOWNLOADED", "DOWNLOADING", "FAILED", "SKIPPED")
    assert sources_of(DocumentState.DOWNLOADED) == ("DOWNLOADING",)


def test_a_lane_is_taken_from_claim_to_bucket() -> None:
    assert {DocumentState.DOWNLOADING, DocumentState.DOWNLOADED} == IN_LANE
