"""The data of a case as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from autos.cli.wording import shown
from autos.downloads.v1 import downloads_pb2 as pb

# The rest is in the JSON output.
MOST_PARTIES, MOST_MOVEMENTS = 20, 10


def case_lines(case: pb.Case) -> Iterator[str]:
    """Yield the lines of a case: each instance with its parties and newest movements."""
    seal = ", sealed" if case.sealed else ""
    yield shown(f"{case.process_number}  {case.court}{seal}", 200)
    for each in case.proceedings:
        yield shown(f"{each.instance or '?'}  {each.case_class.name}  {each.unit}", 200)
        facts = (("filed", each.filed_local_time), ("value", each.value))
        for name, fact in facts:
            if fact:
                yield shown(f"  {name}: {fact}", 200)
        if each.subjects:
            yield shown(f"  subjects: {', '.join(term.name for term in each.subjects)}", 200)
        for party in each.parties[:MOST_PARTIES]:
            yield shown(f"  {party.side}: {party.name or '(hidden)'}", 200)
        yield from _rest("parties", len(each.parties) - MOST_PARTIES)
        for movement in each.movements[:MOST_MOVEMENTS]:
            yield shown(f"  {movement.local_time}  {movement.description}", 200)
        yield from _rest("movements", len(each.movements) - MOST_MOVEMENTS)


def _rest(what: str, count: int) -> Iterator[str]:
    if count > 0:
        yield f"  and {count} more {what}: see --json"
