"""Checks that what is made of the contract is what protoc and buf make of it now."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"
BASE = "base.binpb"
NAMES = ("downloads_pb2.py", "downloads_pb2.pyi", "downloads_pb2_grpc.py", BASE)


def _generate(folder: Path) -> int:
    """Puts the files of NAMES into `folder`/proto; protoc's or buf's exit code."""
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    include = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{include}", *outputs, "proto/downloads.proto"])
    build = (BUF, "build", "--config", "dev/buf.yaml", "-o", folder / "proto" / BASE)
    return int(code) or subprocess.run(build, cwd=ROOT, check=False).returncode


def main() -> int:
    """The exit code: 1 with one sentence when a file is not current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if code := _generate(folder):
            return code
        stale = [
            name
            for name in NAMES
            if (folder / "proto" / name).read_bytes() != (ROOT / "proto" / name).read_bytes()
        ]
    if stale:
        print(f"not current: {', '.join(stale)}; run make proto", file=sys.stderr)
        return 1
    print("the generated code is current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
