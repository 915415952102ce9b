"""Compare an answer with the printed one, except for parts that differ in each run.

A line `...` in the printed answer stands for any number of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Ids of jobs, documents and webhook events.
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=msg_)[0-9a-f]{32}")
# These lines depend on the load, not on the call.
PLACE = re.compile(r'^\s*"(?:queue_position|estimated_end_time|queuePosition|estimatedEndTime)":')
OTHER_EACH_TIME = {
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"),
    # The number of changes in a run depends on timing.
    '"revision": "<number>"': re.compile(r'"revision": "\d+"'),
    "<S3>/": re.compile(r"http://127\.0\.0\.1:\d+/[^/\"]+/"),
    "<signature>": re.compile(r'X-Amz-Algorithm=[^"\s]+'),
    'oken": "<token>"': re.compile(r'oken": "[\w-]+"'),
    # The delay is jittered.
    '"retryDelay": "<seconds>"': re.compile(r'"retry_?[dD]elay":\s*"[\d.]+s"'),
    # Which clock is ahead, grpcurl's or the server's.
    "Message: <deadline>": re.compile(r"Message: (?:context deadline exceeded|Deadline Exceeded)"),
    # buf curl prints details as base64 of bytes that contain an id.
    '"value": "<base64>"': re.compile(r'"value": "[\w+/=]+"'),
}
ELLIPSIS = "..."


def _lines(answer: str) -> list[str]:
    """Return the lines without the parts that may differ; commas at their ends do not count."""
    for name, pattern in OTHER_EACH_TIME.items():
        answer = pattern.sub(lambda _, name=name: name, answer)  # type: ignore[misc]
    return [line.rstrip(" ,") for line in answer.splitlines() if not PLACE.match(line)]


def _pairs(printed: list[str], real: list[str]) -> Iterator[tuple[str, str]]:
    """Return the printed lines, each with the real one in its place; "" where there is none."""
    if ELLIPSIS not in printed:
        width = max(len(printed), len(real))
        yield from zip(_filled(printed, width), _filled(real, width), strict=True)
        return
    head = printed.index(ELLIPSIS)
    tail = len(printed) - head - 1
    yield from zip(printed[:head], _filled(real[:head], head), strict=True)
    rest = real[head:]
    yield from zip(printed[head + 1 :], _filled(rest[len(rest) - tail :], tail), strict=True)


def _filled(lines: list[str], width: int) -> list[str]:
    return lines + [""] * (width - len(lines))


def difference(printed: str, real: str, ids: dict[str, str]) -> str:
    """Return the lines that differ, printed and real; "" if none does.

    `ids` maps the printed ids seen so far to the real ones, and receives new ones: an id that is
    printed twice must be the same twice.
    """
    found = []
    for wanted, got in _pairs(_lines(printed), _lines(real)):
        same = ID.sub("<id>", wanted) == ID.sub("<id>", got)
        for one, other in zip(ID.findall(wanted), ID.findall(got), strict=False):
            same = same and ids.setdefault(one, other) == other
        if not same:
            found.append(f"-{wanted}\n+{got}\n")
    return "".join(found)


def renewed(printed: str, real: str) -> str:
    """Return the real answer, shortened where the printed one is."""
    lines, now = printed.splitlines(), real.splitlines()
    if ELLIPSIS not in lines:
        return real
    head = lines.index(ELLIPSIS)
    tail = len(lines) - head - 1
    kept = [*now[:head], ELLIPSIS, *now[len(now) - tail :]]
    return "".join(f"{line}\n" for line in kept)
