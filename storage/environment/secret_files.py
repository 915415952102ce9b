"""Secrets in files: NAME_FILE names a file whose content is the value of NAME."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SecretFiles:
    """An environment with the secrets of files, and the problem of each that has none, by NAME."""

    env: Mapping[str, str]
    problems: Mapping[str, str]


def read_secret_files(env: Mapping[str, str], names: Collection[str]) -> SecretFiles:
    """Return the environment with the content of each NAME_FILE as NAME."""
    found = dict(env)
    problems: dict[str, str] = {}
    for name in names:
        path = found.pop(f"{name}_FILE", "").strip()
        if not path:
            continue
        if found.get(name, "").strip():
            problems[name] = f"{name} must not be set together with {name}_FILE"
            continue
        try:
            found[name] = _content(path)
        except ValueError as error:
            # Without the path: it may be the secret itself, set by mistake.
            problems[name] = f"{name}_FILE {error}"
    return SecretFiles(found, problems)


def _content(path: str) -> str:
    try:
        text = Path(path).read_text().strip()
    except OSError as error:
        raise ValueError(f"names a file that cannot be read ({error.strerror})") from None
    except ValueError:
        raise ValueError("names a file that cannot be read (not UTF-8 text)") from None
    if not text:
        raise ValueError("names an empty file")
    return text
