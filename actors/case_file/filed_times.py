"""The filing time of a document, in the one form that the contract promises. Pure.

A value with a certain meaning becomes local time of the court, ISO 8601 without offset. Any other
value is kept unchanged.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from actors.case_file.time_forms import Clock, Epoch, clock_of, epoch_of
from actors.contents.json_fields import clean

_KEPT_CAP = 100
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
    while isinstance(value, dict | list) and len(value) == 1:
        (value,) = value.values() if isinstance(value, dict) else value
    if value is None or isinstance(value, bool) or value in ({}, []):
        return ""
    return _of_clock(clock_of(value), court) or _of_seconds(epoch_of(value), court) or _kept(value)


def _kept(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return clean(text, cap=_KEPT_CAP)


def _of_clock(clock: Clock | None, court: str) -> str:
    if clock is None:
        return ""
    try:
        moment = datetime.fromisoformat(f"{clock.date}T{clock.time}")
    except ValueError:
        return ""
    offset = clock.offset
    if offset is None or offset in (timedelta(hours=hours) for hours in _BRAZIL_HOURS):
        return _shown(f"{clock.date}T{clock.time}", clock.decimals)
    moment = moment.replace(tzinfo=UTC)
    # Subtracting an offset from the first or the last day that there is would be an error.
    if not _EARLIEST <= moment < _LATEST:
        return ""
    return _local(moment - offset, clock.decimals, court)


def _of_seconds(epoch: Epoch | None, court: str) -> str:
    if epoch is None:
        return ""
    return _local(datetime.fromtimestamp(epoch.seconds, UTC), epoch.decimals, court)


def _local(moment: datetime, decimals: str, court: str) -> str:
    zone = _zone(court)
    if zone is None or not _EARLIEST <= moment < _LATEST:
        return ""
    local = moment.astimezone(zone).replace(tzinfo=None)
    return _shown(local.isoformat(timespec="seconds"), decimals)


def _shown(time: str, decimals: str) -> str:
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
