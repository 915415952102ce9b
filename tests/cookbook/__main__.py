"""`python -m tests.cookbook`: write the current answers into docs/howto/call-grpcurl.md.

It starts everything itself, as `make run` does, on free ports and in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.stack import running_stack
from tests.cookbook.answer_matcher import renewed
from tests.cookbook.idle import settle
from tests.cookbook.parser import ADDRESS, FILE, RECEIVER, SECURED, CookbookStep, steps_of
from tests.cookbook.runner import run_steps
from tests.cookbook.tls_server import secured_server
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.running_autos import free_port

TIMEOUT_S = 300.0


def _answers(steps: list[CookbookStep]) -> list[str]:
    with tempfile.TemporaryDirectory() as name, WebhookReceiver() as receiver:
        address, secured = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        receiver_host = urlsplit(receiver.url).netloc
        env = {
            "DATA_DIR": f"{name}/run",
            "GRPC_LISTEN": address,
            "WEBHOOK_ALLOWED_HOSTS": receiver_host,
        }
        folder = Path(name, "secured")
        folder.mkdir()
        with (
            running_stack(env) as stack,
            secured_server(stack.env, secured, folder) as environ,
            grpc.insecure_channel(address) as channel,
        ):
            return run_steps(
                steps,
                lambda: settle(pb_grpc.DownloadServiceStub(channel)),
                {ADDRESS: address, RECEIVER: receiver_host, SECURED: secured},
                environ,
                timeout_s=TIMEOUT_S,
            )


def main() -> int:
    """Return the exit code: 1 if a command prints an answer that has no place in the text."""
    text = FILE.read_text()
    steps = list(steps_of(text))
    code = 0
    for step, answer in reversed(list(zip(steps, _answers(steps), strict=True))):
        if step.place:
            begin, end = step.place
            text = text[:begin] + renewed(step.answer, answer) + text[end:]
        elif answer:
            print(f"{FILE.name}:{step.line} prints, and has no place for it:\n{answer}")
            code = 1
    FILE.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
