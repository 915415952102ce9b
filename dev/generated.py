"""Checks that what is made of the contract is what protoc and buf make of it now."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent.parent / "proto"
BUF = Path(sys.executable).parent / "buf"
BASE = "base.binpb"
CONTRACT = "autos/downloads/v1/downloads"
NAMES = (*(f"{CONTRACT}{end}" for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")), BASE)


def _generate(folder: Path) -> int:
    """Put the files of NAMES into `folder`. Return protoc's or buf's exit code."""
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    include = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *outputs, f"{CONTRACT}.proto"])
    build = (BUF, "build", PROTO, "-o", folder / BASE)
    return int(code) or subprocess.run(build, check=False).returncode


def main() -> int:
    """The exit code: 1 with one sentence when a file is not current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if code := _generate(folder):
            return code
        stale = [
            name for name in NAMES if (folder / name).read_bytes() != (PROTO / name).read_bytes()
        ]
    if stale:
        print(f"not current: {', '.join(stale)}; run make proto", file=sys.stderr)
        return 1
    print("the generated code is current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
