"""docs/reference/settings.md: every setting with its default, its limits and its comment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.embedded.sandbox import ROOT
from storage.errors import ConfigurationError
from storage.settings import IN_SO_MANY_WORDS, Settings

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
    for variable, words in IN_SO_MANY_WORDS.items():
        yield f"| `{variable}` | `{words}` | {EFFECTS[variable]} |"


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
    source = SOURCE.read_text()
    variables = _variables(source)
    group, comment = "", []
    body = source.partition("class Settings:")[2].partition("@classmethod")[0]
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


def _variables(source: str) -> dict[str, str]:
    """Return the variable of each field: the first argument of the call that reads it."""
    tree = ast.parse(source)
    read = {
        target.id: name
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and (name := _read_in(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            given = read.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if name := given or _read_in(node.value):
                found.setdefault(node.arg, name)
    return found


def _read_in(expression: ast.expr) -> str:
    """Return the variable that `read.given("NAME", ...)` in an expression names, else ""."""
    for call in ast.walk(expression):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            first = call.args[0] if call.args else None
            if call.func.attr == "given" and isinstance(first, ast.Constant):
                return str(first.value)
    return ""


def _rules(variables: list[str]) -> dict[str, str]:
    """Return what each variable "must be", in the words of its parser."""
    try:
        Settings.from_env(dict.fromkeys(variables, WRONG))
    except ConfigurationError as error:
        problems = re.split(r"; (?=[A-Z0-9_]+ )", str(error).rstrip("."))
        found = (re.fullmatch(r"([A-Z0-9_]+) must (?:be|name) (.*)", each) for each in problems)
        return {each[1]: each[2].replace("|", "\\|") for each in found if each}
    raise AssertionError("no setting has limits")
