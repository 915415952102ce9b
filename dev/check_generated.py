"""Generated code: checks that it is current, or generates it (`--write`).

protoc 25.5 generates the messages. It is the newest version with Python code that runs with every
protobuf since 4.21; code of later versions requires protobuf of the same major version. The client
does not use the gRPC stub, which requires the version of grpcio that generated it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

from dev import unasync

PROTO = Path(__file__).resolve().parent.parent / "proto"
BIN = Path(sys.executable).parent
BASE = "base.binpb"
CONTRACT = "autos/downloads/v1/downloads"
MADE = tuple(f"{CONTRACT}{end}" for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"))
CLIENT = str(unasync.DERIVED.relative_to(PROTO))
NAMES = (*MADE, BASE, CLIENT)


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
    (folder / CLIENT).write_bytes(unasync.derived())
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
