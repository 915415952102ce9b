"""DATA_DIR/run.json: the address and settings of `make run`, for `make demo`. It has no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.folder import write_private


@dataclass(frozen=True)
class RunFile:
    """The content of run.json.

    `address`: host:port of the gRPC server. `receiver_port`: the port to which webhooks may be
    sent. `clients_file`: the file of the known clients; None if no authentication is required.
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
        """Return grpcurl's flag for the connection."""
        return "-cacert CA.pem" if self.is_tls else "-plaintext"


@contextmanager
def written_run_file(data_dir: Path, content: RunFile) -> Iterator[None]:
    """Write the file, and remove it when the context is left."""
    file = _path(data_dir)
    write_private(file, json.dumps(asdict(content), indent=2) + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read_run_file(data_dir: Path) -> RunFile | None:
    """Return the run file in `data_dir`; None if there is none.

    A killed `make run` leaves its file behind, so the caller must compare `pid` with the folder's
    owner.
    """
    try:
        return RunFile(**json.loads(_path(data_dir).read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # missing, or of another version
        return None


def _path(data_dir: Path) -> Path:
    return data_dir / "run.json"
