"""The forms in which courts write a time. Pure.

Each form has one meaning. Texts: ISO 8601, extended and basic; day, month, year, as in Brazil; the
date of HTTP; /Date(ms)/ of .NET. Numbers: seconds to nanoseconds since 1970. Arrays and objects of
calendar fields: Java's LocalDateTime in the forms of its serializers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

_DECIMALS_MAX = 9
_ZONE = r"\s?(?P<offset>Z|UTC|GMT|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?(?:\[[\w/+-]{1,40}\])?"
_TIME = (
    r"(?P<h>[0-9]{1,2}):(?P<min>[0-9]{2})(?::(?P<s>[0-9]{2}))?(?:[.,](?P<decimals>[0-9]{1,30}))?"
)
_FORMS = tuple(
    re.compile(form + _ZONE, re.ASCII)
    for form in (
        r"(?P<y>[0-9]{4})(?P<sep>[-/])(?P<m>[0-9]{1,2})(?P=sep)(?P<d>[0-9]{1,2})(?:T|\s{1,9})"
        + _TIME,
        # 02/06/2025 12:53:54, as in Brazil.
        r"(?P<d>[0-9]{1,2})(?P<sep>[-/.])(?P<m>[0-9]{1,2})(?P=sep)(?P<y>[0-9]{4})"
        r"(?:T|,?\s{1,9}(?:\u00c0S\s|-\s)?)" + _TIME,
        # 20250602125354, as Brazilian courts exchange it.
        r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})[T\s]?(?P<h>[0-9]{2})(?P<min>[0-9]{2})"
        r"(?P<s>[0-9]{2})(?:[.,](?P<decimals>[0-9]{1,30}))?",
        r"(?P<y>(?:19|20)[0-9]{2})(?P<m>[0-9]{2})(?P<d>[0-9]{2})[T\s]?(?P<h>[0-9]{2})(?P<min>[0-9]{2})"
        r"(?P<s>)(?P<decimals>)",
    )
)
# Seconds, or milliseconds, microseconds and nanoseconds: the count of digits shows which.
_NUMBER = re.compile(r"([0-9]{10}|[0-9]{12,13}|[0-9]{16}|[0-9]{19})(?:\.([0-9]{1,9}))?")
_PARTS_OF_SECOND = {10: 0, 12: 3, 13: 3, 16: 6, 19: 9}
_DOT_NET = re.compile(r"\\?/DATE\(([0-9]{12,13})(?:[+-][0-9]{4})?\)\\?/")
# The names of the calendar fields, and of a count of seconds with its decimals.
_FIELDS = (
    ("year", "ano"),
    ("monthValue", "month", "mes"),
    ("dayOfMonth", "day", "dia"),
    ("hour", "hora"),
    ("minute", "minuto"),
    ("second", "segundo"),
    ("nano", "nanos"),
)
_EPOCHS = (("epochSecond", "nano"), ("seconds", "nanos"), ("_seconds", "_nanoseconds"))


@dataclass(frozen=True, slots=True)
class Clock:
    """What a clock shows: date and time in ISO 8601, decimals of the second, offset if written.

    Date and time are not checked: they may not exist.
    """

    date: str
    time: str
    decimals: str = ""
    offset: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment: whole seconds since 1970 in UTC, and the decimals of the second."""

    seconds: int
    decimals: str = ""


def clock_of(value: object) -> Clock | None:
    """Return the date and time that a value shows; None if it shows none."""
    if isinstance(value, list):
        return _of_parts(value)
    if isinstance(value, dict):
        return _of_parts(_parts_of(value))
    if not isinstance(value, str):
        return None
    text = value.strip()
    return next(filter(None, (_of_form(form, text.upper()) for form in _FORMS)), _of_mail(text))


def epoch_of(value: object) -> Epoch | None:
    """Return the moment if a value is a count since 1970; else None."""
    if isinstance(value, dict):
        return next(filter(None, (_of_count(value, *names) for names in _EPOCHS)), None)
    if not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    if dot_net := _DOT_NET.fullmatch(text.upper()):
        text = dot_net[1]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return None
    places = _PARTS_OF_SECOND[len(number[1])]
    if not places:
        return Epoch(int(number[1]), number[2] or "")
    count, part = divmod(int(number[1]), 10**places)
    return Epoch(count, f"{part:0{places}}".rstrip("0") if places > 3 or not part else f"{part:03}")


def _of_form(form: re.Pattern[str], text: str) -> Clock | None:
    found = form.fullmatch(text)
    if found is None:
        return None
    date = f"{found['y']}-{found['m']:0>2}-{found['d']:0>2}"
    time = f"{found['h']:0>2}:{found['min']}" + (f":{found['s']}" if found["s"] else "")
    return Clock(date, time, (found["decimals"] or "")[:_DECIMALS_MAX], _offset(found["offset"]))


def _of_mail(text: str) -> Clock | None:
    """Read the date of HTTP and of e-mail, such as Mon, 02 Jun 2025 15:53:54 GMT."""
    if "," not in text or not text.isascii():
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    # Without a zone, the same text could be another form.
    if moment.tzinfo is None:
        return None
    return Clock(f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}", offset=moment.utcoffset())


def _offset(text: str | None) -> timedelta | None:
    if not text or text[0] not in "+-":
        return timedelta(0) if text else None
    size = timedelta(hours=int(text[1:3]), minutes=int(text[3:].removeprefix(":") or "0"))
    return -size if text.startswith("-") else size


def _parts_of(value: dict[str, Any]) -> list[Any]:
    """Return the calendar fields of an object, or of `date` and `time` in it, in their order."""
    parts = [each for each in (value.get("date"), value.get("time")) if isinstance(each, dict)]
    fields = {name: part for each in (value, *parts) for name, part in each.items()}
    # A time with its own zone is no clock time of the court, and Java's Calendar, whose hour is
    # hourOfDay, counts its months from 0.
    if not {"timezone", "zone", "offset", "hourOfDay"}.isdisjoint(fields):
        return []
    found = [
        next((fields[name] for name in names if isinstance(fields.get(name), int)), None)
        for names in _FIELDS
    ]
    while found and found[-1] is None:
        found.pop()
    return found


def _of_parts(parts: list[Any]) -> Clock | None:
    """Return the clock of year, month, day, hour, minute, and second and nanosecond if present."""
    if len(parts) == 2 and all(isinstance(part, list) for part in parts):
        parts = [*parts[0], *parts[1]]
    parts = [int(p) if isinstance(p, str) and p.isascii() and p.isdigit() else p for p in parts]
    if not 5 <= len(parts) <= 7 or not all(type(part) is int for part in parts):
        return None
    year, month, day, hour, minute, second, fraction = (*parts, 0, 0)[:7]
    if not (min(parts) >= 0 and year < 10**4 and max(parts[1:6]) < 100 and fraction < 10**9):
        return None
    # No court's clock has nanoseconds, so a count below a thousand is one of milliseconds.
    decimals = f"{fraction:03}" if 0 < fraction < 1000 else f"{fraction:09}".rstrip("0")
    time = f"{hour:02}:{minute:02}:{second:02}"
    return Clock(f"{year:04}-{month:02}-{day:02}", time, decimals)


def _of_count(value: dict[str, Any], seconds: str, nanoseconds: str) -> Epoch | None:
    count, part = value.get(seconds), value.get(nanoseconds, 0)
    if type(count) is not int or type(part) is not int or not set(value) <= {seconds, nanoseconds}:
        return None
    is_time = 10**9 <= count < 10**10 and 0 <= part < 10**9
    return Epoch(count, f"{part:09}".rstrip("0")) if is_time else None
