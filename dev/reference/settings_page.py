"""docs/reference/settings.md: every setting with its default, its limits and its comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from dev.embedded.sandbox import ROOT
from storage.environment.setting_reader import IN_SO_MANY_WORDS, variable
from storage.errors import ConfigurationError
from storage.settings import Settings

SOURCE = ROOT / "storage" / "settings.py"
HEAD = """\
# Settings

Environment variables. A process that lacks one, or that finds a wrong value, ends with one sentence that names every
such variable. A process needs only what it uses: `REDIS_URL` all but `release`, `WEBHOOK_SECRET` only `notifier`, the
portal's login `server`, `worker` and `scheduler`. Each secret, and each URL with a password, may stand in a file that
`NAME_FILE` names instead of `NAME`, such as `WEBHOOK_SECRET_FILE`. `make run` and `make demo` set what is missing.
Callers have `AUTOS_ADDRESS`, `AUTOS_TOKEN`, `AUTOS_CA_FILE`, `AUTOS_CERT_FILE` and `AUTOS_KEY_FILE`: [Python
client](python-client.md).
"""
WORDS = """\
## Beyond loopback

Each of these has one value, which must be set word for word:

| variable | value | effect |
|---|---|---|"""
EFFECTS = {
    "AUTOS_WITHOUT_CLIENTS": "listen beyond loopback without clients",
    "GRPC_PLAINTEXT": "listen beyond loopback with clients but without TLS",
    "DATABASE_PLAINTEXT": "a `DATABASE_URL` beyond loopback without `sslmode=require` or stricter",
    "REDIS_PLAINTEXT": "a `redis://` URL beyond loopback",
    "S3_PLAINTEXT": "`http://` endpoints of the object store beyond loopback",
    "PDPJ_PLAINTEXT": "an `http://` portal beyond loopback",
    "METRICS_PLAINTEXT": "metrics pages beyond loopback, which have neither TLS nor authentication",
}
# What every required setting takes; no value of a default depends on it.
REQUIRED = {
    "DATABASE_URL": "postgresql://localhost/autos",
    "REDIS_URL": "redis://localhost/0",
    "S3_ENDPOINT_URL": "http://localhost",
    "S3_ACCESS_KEY_ID": "-",
    "S3_SECRET_ACCESS_KEY": "-",
    "PDPJ_TOKEN": "-",
    "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
# No parser of a setting with limits accepts it.
WRONG = "\x01"
_FIELD = re.compile(r"    (\w+): ")
_GROUP = "== "


@dataclass(frozen=True)
class Setting:
    """One row of the page."""

    group: str
    variable: str
    field: str
    comment: str


def page() -> str:
    """Return the page, without the note that it is generated."""
    return "\n".join([HEAD, *_groups(list(_settings())), WORDS, *_words(), ""])


def _groups(settings: list[Setting]) -> Iterator[str]:
    defaults, rules = Settings.from_env(REQUIRED), _rules([each.variable for each in settings])
    group = ""
    for each in settings:
        if each.group != group:
            group = each.group
            yield f"## {group}\n\n| variable | default | value | effect |\n|---|---|---|---|"
        default = _default(each, getattr(defaults, each.field))
        rule = rules.get(each.variable, "")
        yield f"| `{each.variable}` | {default} | {rule} | {each.comment} |"
        if each is settings[-1] or settings[settings.index(each) + 1].group != group:
            yield ""


def _words() -> Iterator[str]:
    for name, words in IN_SO_MANY_WORDS.items():
        yield f"| `{name}` | `{words}` | {EFFECTS[name]} |"


def _default(setting: Setting, value: object) -> str:
    if setting.variable in REQUIRED and setting.variable != "PDPJ_TOKEN":
        return "required"
    if "Unset:" in setting.comment or setting.variable in REQUIRED or value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _settings() -> Iterator[Setting]:
    """Yield each setting in the order of the dataclass. Raises LookupError without a comment."""
    variables = {each.name: variable(each) for each in fields(Settings)}
    group, comment = "", []
    body = SOURCE.read_text().partition("class Settings:")[2].partition("@classmethod")[0]
    for line in body.splitlines():
        text = line.strip()
        if text.startswith("# " + _GROUP):
            group = text.removeprefix("# " + _GROUP)
        elif text.startswith("#"):
            comment.append(text.removeprefix("# "))
        elif found := _FIELD.match(line):
            if not comment:
                raise LookupError(f"{found[1]} has no comment in {SOURCE.name}")
            yield Setting(group, variables[found[1]], found[1], " ".join(comment))
            comment = []


def _rules(variables: list[str]) -> dict[str, str]:
    """Return what each variable "must be", in the words of its parser."""
    try:
        Settings.from_env(dict.fromkeys(variables, WRONG))
    except ConfigurationError as error:
        problems = re.split(r"; (?=[A-Z0-9_]+ )", str(error).rstrip("."))
        found = (re.fullmatch(r"([A-Z0-9_]+) must (?:be|name) (.*)", each) for each in problems)
        return {each[1]: each[2].replace("|", "\\|") for each in found if each}
    raise AssertionError("no setting has limits")
