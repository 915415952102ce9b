"""Generated code: checks that it is current, or generates it (`--write`).

protoc 25.5 generates the messages. It is the newest version with Python code that runs with every
protobuf since 4.21; code of later versions requires protobuf of the same major version. The client
does not use the gRPC stub, which requires the version of grpcio that generated it.

The blocking client is derived from the asyncio client, so that each method is written once.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent.parent / "proto"
BIN = Path(sys.executable).parent
BASE = "base.binpb"
CONTRACT = "autos/downloads/v1/downloads"
CLIENT = "autos/_client/sync_client.py"
MADE = tuple(f"{CONTRACT}{end}" for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"))
NAMES = (*MADE, BASE, CLIENT)
SOURCE, DERIVED = PROTO / "autos/_client/async_client.py", PROTO / CLIENT
# Sentences that differ between the two clients.
TEXTS = {
    "The asyncio client. `make proto` derives the blocking client, sync_client.py, from it.": (
        "The blocking client. DO NOT EDIT: `make proto` derives it from async_client.py."
    ),
    "The asyncio client. Create it in the event loop that uses it, in an `async with` block.": (
        "The blocking client. Threads may share one. Close it, or use it in a `with` block."
    ),
}
WORDS = {
    r"\basync (?=def|for|with)": "",
    r"\bawait ": "",
    r"\bAsyncClient\b": "Client",
    r"\bAsyncIterator\b": "Iterator",
    r"\basync_io\b": "sync_io",
    r"\b__a(enter|exit)__\b": r"__\1__",
}


def derived() -> bytes:
    """Return the source of the blocking client. Raises KeyError if a rule matches nothing."""
    text = SOURCE.read_text(encoding="utf-8")
    for pattern, word in {**{re.escape(old): new for old, new in TEXTS.items()}, **WORDS}.items():
        text, count = re.subn(pattern, word, text)
        if not count:
            raise KeyError(pattern)
    for command in (("check", "--quiet", "--select", "I", "--fix"), ("format",)):
        text = subprocess.run(
            (BIN / "ruff", *command, "--stdin-filename", DERIVED, "-"),
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text.encode()


def _generate(folder: Path) -> int:
    """Generate the files of NAMES in `folder`. Return 0, or the exit code of a failed command."""
    include = Path(grpc_tools.__file__).parent / "_proto"
    sources = [f"-I{PROTO}", f"-I{include}", f"{CONTRACT}.proto"]
    messages: list[str | Path] = [
        BIN / "protoc",
        *sources,
        f"--python_out={folder}",
        f"--pyi_out={folder}",
    ]
    (folder / CLIENT).parent.mkdir(parents=True)
    (folder / CLIENT).write_bytes(derived())
    stub = ["protoc", *sources, f"--grpc_python_out={folder}"]
    image: list[str | Path] = [BIN / "buf", "build", PROTO, "-o", folder / BASE]
    return (
        subprocess.run(messages, check=False).returncode
        or int(protoc.main(stub))
        or subprocess.run(image, check=False).returncode
    )


def main(arguments: Sequence[str]) -> int:
    """Return the exit code: 1 after one sentence on stderr if a file is not current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if code := _generate(folder):
            return code
        if "--write" in arguments:
            for name in NAMES:
                shutil.copyfile(folder / name, PROTO / name)
        stale = [n for n in NAMES if (folder / n).read_bytes() != (PROTO / n).read_bytes()]
    if stale:
        print(f"not current: {', '.join(stale)}; run make proto", file=sys.stderr)
        return 1
    print("the generated code is current")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
