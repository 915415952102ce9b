"""The command that tries a receiver of webhooks."""

from __future__ import annotations

from argparse import Namespace

from autos._client.sync_client import Client
from autos.cli.exits import Exit
from autos.cli.output import write_json, write_line
from autos.cli.wording import shown
from autos.json_form import as_json


def test_webhook(client: Client, options: Namespace) -> Exit:
    """Send a test event to a URL. Print whether the receiver accepted it."""
    attempt = client.test_webhook(options.webhook_url)
    if options.json:
        write_json(as_json(attempt))
    else:
        write_line(shown(attempt.error) if attempt.error else f"accepted: {attempt.status_code}")
    return Exit.ERROR if attempt.error else Exit.OK
