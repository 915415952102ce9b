"""The filing time of a document, in the one form that the contract promises. Pure.

A value with a certain meaning becomes local time of the court, ISO 8601 without offset. Any other
value is kept unchanged.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from actors.contents.json_fields import clean

_KEPT_CAP = 100
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:[.,](?P<decimals>[0-9]{1,9}))?\s?(?P<offset>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
    r"(?:\[[\w/+-]{1,40}\])?",
    re.ASCII,
)
# 02/06/2025 12:53:54, as in Brazil; 20250602125354, as Brazilian courts exchange it.
_BRAZILIAN = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)")
_DIGITS = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T?([0-9]{2})([0-9]{2})([0-9]{2})(\D.*)?")
_NUMBER = re.compile(r"([0-9]{10}|[0-9]{12,13})(?:\.([0-9]{1,9}))?")
_MILLISECONDS_FROM = 10**11
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Offsets of clocks in Brazil: a time with such an offset is local time already.
_BRAZIL_HOURS = range(-5, -1)

_BRASILIA = "America/Sao_Paulo"
# By the number of the state in a court's (TR), if its time is not Brasília's.
_STATE_ZONES = {
    1: "America/Rio_Branco",
    2: "America/Maceio",
    3: "America/Belem",
    4: "America/Manaus",
    5: "America/Bahia",
    6: "America/Fortaleza",
    10: "America/Fortaleza",
    11: "America/Cuiaba",
    12: "America/Campo_Grande",
    14: "America/Belem",
    15: "America/Fortaleza",
    17: "America/Recife",
    18: "America/Fortaleza",
    20: "America/Fortaleza",
    22: "America/Porto_Velho",
    23: "America/Boa_Vista",
    25: "America/Maceio",
    27: "America/Araguaina",
}
# By the region, if its time is not Brasília's; None: the region has several time zones.
_LABOUR_ZONES = {
    5: "America/Bahia",
    6: "America/Recife",
    7: "America/Fortaleza",
    8: "America/Belem",
    10: None,
    11: "America/Manaus",
    13: "America/Fortaleza",
    14: None,
    16: "America/Fortaleza",
    19: "America/Maceio",
    20: "America/Maceio",
    21: "America/Fortaleza",
    22: "America/Fortaleza",
    23: "America/Cuiaba",
    24: "America/Campo_Grande",
}
_FEDERAL_ZONES = {1: None, 3: None, 5: None}


def filed_local_time(value: object, court: str) -> str:
    """Return the filing time of a document from its listed value; `court` is J.TR. Empty: no value.

    A moment (UTC, or a number) becomes local time if the court has one time zone.
    """
    while isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    if value is None or isinstance(value, bool) or value in ({}, []):
        return ""
    if isinstance(value, list):
        return _of_parts(value) or _kept(value)
    return _of_text(str(value).strip().upper(), court) or _kept(value)


def _kept(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return clean(text, cap=_KEPT_CAP)


def _of_text(text: str, court: str) -> str:
    if number := _NUMBER.fullmatch(text):
        return _of_number(number, court)
    if parts := _DIGITS.fullmatch(text):
        text = "{}-{}-{}T{}:{}:{}{}".format(*parts.groups(default=""))
    elif parts := _BRAZILIAN.fullmatch(text):
        text = "{2}-{1}-{0}T{3}".format(*parts.groups())
    found = _TIME.fullmatch(text)
    if found is None:
        return ""
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{found['time']}")
    except ValueError:
        return ""
    offset = _offset(found["offset"])
    if offset is None or offset in (timedelta(hours=hours) for hours in _BRAZIL_HOURS):
        return _shown(f"{found['date']}T{found['time']}", found["decimals"])
    return _local(moment.replace(tzinfo=UTC) - offset, found["decimals"], court)


def _offset(text: str | None) -> timedelta | None:
    if text in (None, "Z"):
        return timedelta(0) if text else None
    hours, minutes = int(text[1:3]), int(text[3:].removeprefix(":") or "0")
    size = timedelta(hours=hours, minutes=minutes)
    return -size if text.startswith("-") else size


def _of_number(number: re.Match[str], court: str) -> str:
    count, decimals = int(number[1]), number[2]
    if count >= _MILLISECONDS_FROM:
        count, milliseconds = divmod(count, 1000)
        decimals = f"{milliseconds:03}" if milliseconds else None
    return _local(datetime.fromtimestamp(count, UTC), decimals, court)


def _of_parts(parts: list[Any]) -> str:
    """Build it from year, month, day, hour, minute and, if not zero, second and nanosecond."""
    if not 5 <= len(parts) <= 7 or not all(type(part) is int for part in parts):
        return ""
    nanoseconds = parts[6] if len(parts) == 7 else 0
    try:
        moment = datetime(*parts[:6])
    except (ValueError, OverflowError):
        return ""
    if not 0 <= nanoseconds < 10**9:
        return ""
    decimals = f"{nanoseconds:09}".rstrip("0")
    return _shown(moment.isoformat(timespec="seconds"), decimals)


def _local(moment: datetime, decimals: str | None, court: str) -> str:
    zone = _zone(court)
    if zone is None or not _EARLIEST <= moment < _LATEST:
        return ""
    local = moment.astimezone(zone).replace(tzinfo=None)
    return _shown(local.isoformat(timespec="seconds"), decimals)


def _shown(time: str, decimals: str | None) -> str:
    return f"{time}.{decimals}" if decimals else time


def _zone(court: str) -> ZoneInfo | None:
    """Return the time zone of the whole court; None if there are several, or if it is unknown."""
    branch, _, number = court.partition(".")
    zones = {"4": _FEDERAL_ZONES, "5": _LABOUR_ZONES, "6": _STATE_ZONES, "8": _STATE_ZONES}
    name = zones.get(branch, {}).get(int(number), _BRASILIA)  # type: ignore[attr-defined]
    if name is None or branch == "7":
        return None
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return None
