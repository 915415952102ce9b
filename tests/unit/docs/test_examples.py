"""Examples that need no server run as printed."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import time

from google.protobuf import json_format

from actors.webhook.signed_posts import sign
from autos import pb
from dev.embedded.sandbox import ROOT
from storage.settings import Settings
from tests.unit.storage.test_settings import NEEDED

HOWTO = ROOT / "docs" / "howto"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (HOWTO / page).read_text(), re.M | re.S)


def test_a_webhook_is_verified_and_read_as_printed() -> None:
    event = pb.WebhookEvent(type="download.completed")
    event.data.documents.add(document_id="1")
    body = json_format.MessageToJson(event, preserving_proto_field_name=True).encode()
    now = int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign([SECRET], "msg_1", now, body),
    }
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(
            "".join(_blocks("receive-webhooks.md", "python")),
            {"secret": SECRET, "body": body, "headers": headers},
        )

    assert printed.getvalue() == "download.completed  1\n"


def test_generated_secrets_are_taken_by_the_settings() -> None:
    made = {}
    for page, variable in (
        ("deploy.md", "WEBHOOK_SECRET"),
        ("log-in-to-portal.md", "AUTOS_ENCRYPTION_KEY"),
    ):
        [command] = _blocks(page, "sh")
        command = command.replace("python", sys.executable, 1)
        made[variable] = subprocess.run(
            ["sh", "-ec", command], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    settings = Settings.from_env({**NEEDED, **made})

    assert settings.webhook_secrets == (made["WEBHOOK_SECRET"],)
    assert settings.encryption_keys == (made["AUTOS_ENCRYPTION_KEY"],)
