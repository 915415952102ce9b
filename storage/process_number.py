"""The CNJ process number: its forms, its check digits and the courts that exist.

Source: Resolução CNJ 65/2008.
"""

from __future__ import annotations

import re

from storage.errors import InvalidRequest

_PUNCTUATED = re.compile(r"([0-9]{7})-([0-9]{2})\.([0-9]{4})\.([0-9])\.([0-9]{2})\.([0-9]{4})")
_DIGITS = re.compile(r"([0-9]{7})([0-9]{2})([0-9]{4})([0-9])([0-9]{2})([0-9]{4})")

# The courts (TR) of each branch of justice (J).
_COURTS: dict[str, frozenset[int]] = {
    "1": frozenset({0}),  # STF
    "2": frozenset({0}),  # CNJ
    "3": frozenset({0}),  # STJ
    "4": frozenset({*range(1, 7), 90}),  # TRF, CJF
    "5": frozenset({*range(25), 90}),  # TST, TRT, CSJT
    "6": frozenset(range(28)),  # TSE, TRE
    "7": frozenset(range(13)),  # STM, military circuits
    "8": frozenset(range(1, 28)),  # TJ
    "9": frozenset({13, 21, 26}),  # TJMMG, TJMRS, TJMSP
}


def check_digits(number18: str) -> str:
    """Return the two check digits of a CNJ number, "02" to "98".

    `number18` is the 18 other digits. Source: Resolução CNJ 65/2008, annex VIII.
    """
    return f"{98 - int(number18 + '00') % 97:02d}"


def parse_process_number(text: str) -> str:
    """Return the punctuated form of a process number, given with punctuation or as 20 digits.

    Raises InvalidRequest with the problem and the rule.
    """
    stripped = text.strip()
    match = _PUNCTUATED.fullmatch(stripped) or _DIGITS.fullmatch(stripped)
    if match is None:
        raise _wrong("must be NNNNNNN-DD.AAAA.J.TR.OOOO or the same 20 digits without punctuation")
    serial, given, year, branch, court, origin = match.groups()
    # "The whole number mod 97 is 1" would also accept 00, 01 and 99: compute and compare.
    expected = check_digits(serial + year + branch + court + origin)
    if given != expected:
        raise _wrong(f"the check digits must be {expected}, not {given}")
    if int(court) not in _COURTS.get(branch, ()):
        raise _wrong(f"there is no court {branch}.{court} (J.TR)")
    return f"{serial}-{given}.{year}.{branch}.{court}.{origin}"


def is_court(text: str) -> bool:
    """Return whether there is such a court, given as J.TR, such as "8.26"."""
    match = re.fullmatch(r"([0-9])\.([0-9]{2})", text)
    return match is not None and int(match[2]) in _COURTS.get(match[1], ())


def digits(number: str) -> str:
    """Return the 20 digits of a process number."""
    return number.replace("-", "").replace(".", "")


def punctuated(digits: str) -> str:
    """Return the process number with these 20 digits."""
    d = digits
    return f"{d[:7]}-{d[7:9]}.{d[9:13]}.{d[13]}.{d[14:16]}.{d[16:]}"


def _wrong(sentence: str) -> InvalidRequest:
    return InvalidRequest.of("process_number", sentence)
