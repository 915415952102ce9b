"""`autos start -`: numbers from standard input, started as batches, with one view of all jobs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from uuid import UUID, uuid5

from autos._client.calls import StartOptions, batch_size
from autos._client.sync_client import Client
from autos.cli.exits import Exit, exit_of_state
from autos.cli.live import batch_view
from autos.cli.output import write_json, write_line
from autos.cli.wording import batches_line, job_state, shown
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json


def start_many(client: Client, options: Namespace, chosen: StartOptions) -> Exit:
    """Start a job for each number of standard input. Print a line for each.

    The exit code is that of a job if all have the same result, PARTIALLY_COMPLETED if they differ.
    """
    tally: Counter[str] = Counter()
    batch_ids: list[str] = []
    for numbers in _chunks(sys.stdin, batch_size(**chosen)):
        answer = client.start_many(
            numbers, request_id=_request_id(options.request_id, len(batch_ids)), **chosen
        )
        batch_ids.append(answer.batch_id)
        for number, result in zip(numbers, answer.results, strict=True):
            tally[_print_result(number, result, options)] += 1
    counts = ", ".join(f"{tally[name]} {name}" for name in ("started", "joined", "refused"))
    write_line(f"{counts}  batches {' '.join(batch_ids) or 'none'}", sys.stderr)
    states: Counter[int] = Counter()
    if options.watch or options.wait:
        states = _states(_followed(client, options, batch_ids))
    return _exit(tally, states)


def _chunks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the numbers of one batch after the other. A blank line is none."""
    numbers = (line.strip() for line in lines if line.strip())
    while chunk := list(islice(numbers, size)):
        yield chunk


def _request_id(given: str | None, place: int) -> str | None:
    """Return the request_id of the batch at `place`: the same command makes the same ones."""
    if given is None or place == 0:
        return given
    try:
        return str(uuid5(UUID(given), str(place)))
    except ValueError:
        # The server names what is wrong with it.
        return given


def _print_result(number: str, result: pb.StartDownloadResult, options: Namespace) -> str:
    """Print what came of one number. Return its word for the summary."""
    is_refused = result.HasField("error")
    if options.json:
        write_json({"process_number": number, **as_json(result)})
    elif is_refused:
        why = f"{result.error.reason}: {result.error.message}"
        write_line(shown(f"refused: {number}: {why}", 500), sys.stderr)
    else:
        job = result.response.job
        write_line(shown(f"{job.job_id}  {job.process_number}  {job_state(job)}"))
    if is_refused:
        return "refused"
    return "started" if result.response.created else "joined"


def _followed(client: Client, options: Namespace, batch_ids: Sequence[str]) -> list[pb.Batch]:
    """Return the batches when all of their jobs have ended. With --watch, show them until then."""
    batches: list[pb.Batch] = []
    readings = client.watch_batches(
        batch_ids, timeout_s=options.deadline, patience_s=options.patience
    )
    if options.json or not options.watch:
        for batches in readings:
            for batch in batches if options.json and options.watch else ():
                write_json(as_json(batch))
    else:
        with batch_view() as view:
            for batches in readings:
                view.show(batches)
    if options.wait and not options.json:
        write_line(batches_line(batches))
    return batches


def _states(batches: Iterable[pb.Batch]) -> Counter[int]:
    states: Counter[int] = Counter()
    for batch in batches:
        for each in batch.jobs:
            states[each.state] += each.count
    return states


def _exit(tally: Counter[str], states: Counter[int]) -> Exit:
    """Return the exit code of all results together."""
    codes = {exit_of_state(state) for state in states}
    accepted = tally["started"] + tally["joined"]
    codes |= {Exit.INVALID} if tally["refused"] else set()
    codes |= {Exit.OK} if accepted and not states else set()
    if len(codes) > 1:
        return Exit.PARTIALLY_COMPLETED
    return codes.pop() if codes else Exit.OK
