"""What a pull of a job's documents has left in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autos.downloads.v1 import downloads_pb2 as pb


@dataclass(frozen=True)
class PulledFile:
    """A document in its file. `is_new`: False if the file existed already."""

    document: pb.Document
    path: Path
    is_new: bool


@dataclass(frozen=True)
class Pulled:
    """The result of a pull, in the order of the case. `missing`: the wanted documents that are
    not available."""

    files: tuple[PulledFile, ...]
    missing: tuple[pb.Document, ...]
