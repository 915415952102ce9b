"""DATA_DIR/run.json: what `make run` tells `make demo` about itself. It holds no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.folder import write_private


@dataclass(frozen=True)
class RunFile:
    """`address` is host:port of the gRPC server; `receiver_port` is where webhooks may go.

    `clients_file`: who may call; None for anybody.
    """

    address: str
    pid: int
    is_sandbox: bool
    portal_url: str | None
    receiver_port: int | None
    clients_file: str | None = None
    is_tls: bool = False

    @property
    def grpcurl_flag(self) -> str:
        """How grpcurl is to connect."""
        return "-cacert CA.pem" if self.is_tls else "-plaintext"


@contextmanager
def written_run_file(data_dir: Path, content: RunFile) -> Iterator[None]:
    """Keep the file there meanwhile."""
    file = _path(data_dir)
    write_private(file, json.dumps(asdict(content), indent=2) + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read_run_file(data_dir: Path) -> RunFile | None:
    """What runs on `data_dir`, or None.

    A `make run` that was killed leaves its file behind, so compare `pid` with the folder's owner.
    """
    try:
        return RunFile(**json.loads(_path(data_dir).read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # none, or one of another version
        return None


def _path(data_dir: Path) -> Path:
    return data_dir / "run.json"
