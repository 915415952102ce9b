"""Read collapsed stacks as py-spy writes them: the functions that samples were in. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

TOP = 14
# The folders of our own code; frames below them were called by it.
OWN = ("(actors/", "(storage/", "(server/")
# py-spy takes a thread that is about to sleep for a busy one, and a wait for a message too.
AWAITING = "BoundedPrefetchConsumer._await_message "
WAITING = ("Condition.wait ", "Thread.run ", "_worker (concurrent", "EpollSelector.select ")


def format_stacks(lines: Iterable[str]) -> list[str]:
    """List the functions in which most samples ended, and our functions above most samples."""
    inner: Counter[str] = Counter()
    below: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        if frames[-1].startswith(WAITING) or any(f.startswith(AWAITING) for f in frames):
            continue
        total += int(count)
        inner[frames[-1]] += int(count)
        below.update({frame: int(count) for frame in set(frames) if _is_own(frame)})
    return [
        f"  {total} samples; they ended in",
        *_shares(inner, total),
        "  and were, at some depth, in",
        *_shares(below, total),
    ]


def _function(frame: str) -> str:
    """Return the function without the line, since one function has several lines."""
    name, _, place = frame.rpartition(" (")
    return f"{name} ({place.partition(':')[0].rstrip(')')})"


def _is_own(frame: str) -> bool:
    return any(folder in frame for folder in OWN)


def _shares(counts: Counter[str], total: int) -> list[str]:
    return [f"  {count / (total or 1):6.1%}  {name}" for name, count in counts.most_common(TOP)]
