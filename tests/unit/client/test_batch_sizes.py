"""Test that a StartDownloads which gRPC would refuse for its size is not sent."""

from __future__ import annotations

import pytest

from autos._client import calls
from autos._client.calls import BATCH, MOST_BYTES
from autos.errors import InvalidRequest

NUMBER = "1003579-22.2025.8.26.0564"
LONG_URL = "https://hooks.tribunal.jus.br/" + "x" * 2_000


def test_too_large_a_batch_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidRequest) as caught:
        calls.start_many([NUMBER] * BATCH, None, webhook_url=LONG_URL)

    assert str(MOST_BYTES) in str(caught.value)
    assert list(caught.value.violations) == ["requests"]


def test_as_many_numbers_as_fit_are_sent_together() -> None:
    assert calls.batch_size() == BATCH
    size = calls.batch_size(webhook_url=LONG_URL)
    assert 1 < size < BATCH

    call = calls.start_many([NUMBER] * size, None, webhook_url=LONG_URL)

    assert 0.99 * MOST_BYTES < call.request.ByteSize() <= MOST_BYTES
