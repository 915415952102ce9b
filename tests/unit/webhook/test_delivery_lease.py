"""Test the lease of an attempt: a repeat after the loss of a notifier waits for its end."""

from __future__ import annotations

from actors.webhook.signed_posts import LEASE_S
from actors.webhook.webhook_client import TOTAL_S

# Seconds for the body of an attempt and for the record of its answer.
BESIDE_S = 10.0
# Work goes on so soon after the loss of all processes. Repairs run every two seconds, and take one.
GOES_ON_S = 30.0
REPAIRS_S = 3.0


def test_a_lease_outlives_its_attempt_and_no_repeat_waits_for_half_a_minute() -> None:
    assert TOTAL_S + BESIDE_S <= LEASE_S
    assert LEASE_S + REPAIRS_S < GOES_ON_S
