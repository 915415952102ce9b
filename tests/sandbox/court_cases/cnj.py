"""CNJ numbers, computed without the product's code, so that tests compare two implementations."""

from __future__ import annotations

import hashlib
import re


def process_number(
    sequence: int, year: int = 2024, court: str = "8.26", origin: str = "0100"
) -> str:
    """Return a punctuated number with valid check digits. Source: Resolução CNJ 65/2008."""
    branch = court.replace(".", "")
    rest = int(f"{sequence:07d}{year:04d}{branch}{origin}00")
    return f"{sequence:07d}-{98 - rest % 97:02d}.{year:04d}.{court}.{origin}"


def number_of(slug: str) -> str:
    """Return the number of a named case; it depends on the slug only."""
    sequence = int.from_bytes(hashlib.sha256(slug.encode()).digest()[:8])
    return process_number(1_000_000 + sequence % 9_000_000)


def digits(number: str) -> str:
    """Return the number without punctuation, as the sandbox compares numbers."""
    return re.sub(r"[.-]", "", number)
