"""The values of options: each function raises ArgumentTypeError or ValueError for another text."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta

# The units of a duration, in seconds.
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def utf8(text: str) -> str:
    """Return text for the server. A shell may pass bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentTypeError(f"{text!a} is not UTF-8") from error
    return text


def name(text: str) -> str:
    """Return text that is not empty, as that of an unset variable of a shell is."""
    if not text.strip():
        raise ArgumentTypeError("the value is empty")
    return utf8(text)


def label(text: str) -> tuple[str, str]:
    """Return key and value of KEY=VALUE."""
    key, is_there, value = utf8(text).partition("=")
    if not is_there:
        raise ArgumentTypeError(f"{text} is not KEY=VALUE")
    return key, value


def revision(text: str) -> int:
    """Return a revision of a job."""
    found = int(text)
    if not -(2**63) <= found < 2**63:
        raise ArgumentTypeError(f"{text} is not a revision")
    return found


def seconds(text: str) -> float:
    """Return a number of seconds above 0."""
    found = float(text)
    if not 0 < found < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return found


def duration(text: str) -> timedelta:
    """Return the time of a number of seconds or of 30m, 12h, 7d and the like, up to ten years."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS_S else (text, "s")
    try:
        found = float(number) * UNITS_S[unit]
    except ValueError:
        found = -1.0
    if not 0 <= found <= 315_360_000:
        raise ArgumentTypeError(f"{text} is no duration; write seconds, or such as 30m, 12h, 7d")
    return timedelta(seconds=found)


def count(text: str) -> int:
    """Return a number above 0."""
    found = int(text)
    if found < 1:
        raise ArgumentTypeError(f"{text} is not above 0")
    return found
