"""`autos pull`: every available document of a job into a folder."""

from __future__ import annotations

import re
from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from autos._client.sync_client import Client
from autos.cli.exits import Exit
from autos.cli.live import PullView, pull_view
from autos.cli.output import print_note, write_json
from autos.cli.wording import document_state, failure, shown
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import ServerBug
from autos.json_form import as_json
from autos.pulled import PulledFile

# Only such a number may become the name of a folder.
_CNJ_NUMBER = re.compile(r"[0-9]{7}-[0-9]{2}\.[0-9]{4}\.[0-9]\.[0-9]{2}\.[0-9]{4}")


def pull(client: Client, options: Namespace) -> Exit:
    """Fetch the files. Return PARTIALLY_COMPLETED if some documents are not available."""
    job = client.status(options.target)
    options.job_id = job.job_id
    folder = options.folder or _folder_of(job)
    with _pull_view(job, options) as view:
        pulled = client.download_to(
            folder, job.job_id, parallel=options.parallel, on_file=view.file, on_bytes=view.count
        )
    for document in pulled.missing:
        print_note(_absence(document))
    doubtful = sum(file.document.unverified for file in pulled.files)
    print_note(
        f"{len(pulled.files)} files in {folder}, {len(pulled.missing)} documents not available"
        + (f", {doubtful} unverified" if doubtful else "")
    )
    return Exit.PARTIALLY_COMPLETED if pulled.missing else Exit.OK


def _folder_of(job: pb.Job) -> Path:
    """Return the default folder of a pull. Raises ServerBug if the number could lead elsewhere."""
    if not _CNJ_NUMBER.fullmatch(job.process_number):
        raise ServerBug(
            "The server answered a process number that is none, so no folder is named after it:"
            " name the FOLDER."
        )
    return Path(job.process_number)


def _pull_view(job: pb.Job, options: Namespace) -> AbstractContextManager[PullView]:
    if options.json:
        return nullcontext(_JsonFiles())
    return pull_view(job.progress.stored_bytes, job.progress.completed_documents)


class _JsonFiles:
    """Prints a line of JSON for each file."""

    def file(self, file: PulledFile) -> None:
        fields = {"path": str(file.path), "is_new": file.is_new, "document": as_json(file.document)}
        write_json(fields)

    def count(self, size_bytes: int) -> None:
        """Print nothing for bytes."""


def _absence(document: pb.Document) -> str:
    if document.state == pb.DOCUMENT_STATE_FAILED:
        return failure(document)
    return f"not available: {shown(document.name, 60)}: {document_state(document)}"
