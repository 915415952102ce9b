"""`python -m tests.cookbook`: prints the answers of a fresh `make run` into docs/GRPCURL.md.

Fresh, since answers tell of what came before: `DATA_DIR=$(mktemp -d) make run`, and beside it
`python -m tests.sandbox.receiver --port 8099`.
"""

from __future__ import annotations

import argparse
import sys

import grpc

from proto import downloads_pb2_grpc as pb_grpc
from tests.cookbook.answers import renewed
from tests.cookbook.kitchen import cook
from tests.cookbook.recipes import ADDRESS, FILE, RECEIVER, steps_of
from tests.cookbook.settling import settle

TIMEOUT_S = 300.0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cookbook", description=__doc__)
    parser.add_argument("--address", default=ADDRESS, help="of make run (%(default)s)")
    parser.add_argument("--receiver", default=RECEIVER, help="of webhooks (%(default)s)")
    asked = parser.parse_args()
    text = FILE.read_text()
    steps = list(steps_of(text))
    with grpc.insecure_channel(asked.address) as channel:
        api = pb_grpc.DownloadServiceStub(channel)
        answers = cook(
            steps,
            lambda: settle(api),
            {ADDRESS: asked.address, RECEIVER: asked.receiver},
            timeout_s=TIMEOUT_S,
        )
    for step, answer in reversed(list(zip(steps, answers, strict=True))):
        if step.place:
            begin, end = step.place
            text = text[:begin] + renewed(step.answer, answer) + text[end:]
        elif answer:
            print(f"{FILE.name}:{step.line} prints, and has no place for it:\n{answer}")
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
