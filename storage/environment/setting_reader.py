"""A setting: a field of a dataclass that names its variable, the kind of its value and a default.

`SettingReader` reads the variables and collects the problem of each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any

from storage.environment import plaintext
from storage.environment.plaintext import is_loopback_host
from storage.environment.setting_values import one_of
from storage.errors import ConfigurationError

REQUIRED = object()
# The exact values that allow, beyond loopback, calls without clients and connections without TLS.
IN_SO_MANY_WORDS = {
    "AUTOS_WITHOUT_CLIENTS": "serve-anyone-who-can-reach-me",
    "GRPC_PLAINTEXT": "tls-ends-in-front-of-me",
    **dict.fromkeys(plaintext.ALLOWED_BY.values(), plaintext.TRUSTED),
}
# The processes that use a required setting, by their names in the Procfile. Others: all of them.
# Server and scheduler compare the portal's login with the one that a hold names.
USED_BY = {
    "REDIS_URL": ("server", "worker", "uploader", "notifier", "scheduler"),
    "PDPJ_TOKEN": ("server", "worker", "scheduler"),
    "WEBHOOK_SECRET": ("server", "notifier"),
    "GRPC_LISTEN": ("server",),
}


def setting(
    parse: Callable[[str], Any],
    default: Any = REQUIRED,
    *,
    default_of: Callable[[Mapping[str, Any]], Any] | None = None,
    variable: str = "",
    is_secret: bool = False,
) -> Any:
    """Return a field whose value `parse` makes of the text of a variable.

    `parse` raises ValueError with the rule that the text breaks. `default_of` makes the default
    from the values of the fields before; None is the value of a wrong one. `variable`: if it is not
    the field's name in capitals. A secret is not in the repr, and may stand in a file.
    """
    metadata = {"parse": parse, "default_of": default_of or (lambda _: default)}
    return field(repr=not is_secret, metadata=metadata | {"variable": variable})


def variable(each: Field[Any]) -> str:
    """Return the name of the variable of a field."""
    return each.metadata["variable"] or each.name.upper()


class SettingReader:
    """Read variables and collect the problem of each.

    `process` is the name in the Procfile: what it does not use is not required.
    """

    def __init__(self, env: Mapping[str, str], secrets: Collection[str], process: str) -> None:
        files = read_secret_files(env, secrets)
        self._env, self._process = files.env, process
        # A secret whose file has a problem counts as set: one problem is reported once.
        self._unread = set(files.problems)
        self._problems = list(files.problems.values())

    def read(self, each: Field[Any], before: Mapping[str, Any]) -> Any:
        """Return the value of a field. If it is required and not set: an empty text.

        `before` has the values of the fields before.
        """
        name = variable(each)
        if name not in self._unread and self._is_set(name):
            return self._parsed(name, each.metadata["parse"])
        default = each.metadata["default_of"](before)
        if default is not REQUIRED:
            return default
        if name not in self._unread and self._uses(name):
            self._problems.append(f"{name} is not set")
        return ""

    def raise_problems(self, listen: str | None) -> None:
        """Raise ConfigurationError that names every missing or wrong variable at once.

        `listen` is the address of the server, None if it is wrong.
        """
        self._check_credentials()
        self._check_words()
        self._check_webhook_secret()
        self._check_callers(listen)
        if self._problems:
            raise ConfigurationError("; ".join(self._problems) + ".")

    def _parsed(self, name: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(self._env[name].strip())
        except ValueError as error:
            # The value may be a secret, so the message contains only the rule.
            self._problems.append(f"{name} {error}" if error.args else f"{name} is not valid")
            return None

    def _check_credentials(self) -> None:
        """Require PDPJ_TOKEN or a complete login. Each gap is reported by itself."""
        if self._is_set("PDPJ_TOKEN_URL"):
            if self._is_set("PDPJ_TOKEN"):
                self._problems.append("PDPJ_TOKEN must not be set together with PDPJ_TOKEN_URL")
            self._need("PDPJ_CLIENT_ID", "AUTOS_ENCRYPTION_KEY", by="PDPJ_TOKEN_URL")
            if not self._is_set("PDPJ_CLIENT_SECRET") and not self._is_set("PDPJ_REFRESH_TOKEN"):
                self._problems.append(
                    "PDPJ_CLIENT_SECRET is not set, nor is PDPJ_REFRESH_TOKEN:"
                    " PDPJ_TOKEN_URL needs one of them"
                )
            return
        parts = ("PDPJ_CLIENT_ID", "PDPJ_CLIENT_SECRET", "PDPJ_REFRESH_TOKEN")
        if given := next(filter(self._is_set, parts), None):
            self._need("PDPJ_TOKEN_URL", by=given)
        elif not self._is_set("PDPJ_TOKEN") and self._uses("PDPJ_TOKEN"):
            self._problems.append(
                "PDPJ_TOKEN is not set, nor is PDPJ_TOKEN_URL with a client to log in"
            )

    def _check_words(self) -> None:
        """Refuse a word that is not exact, and a connection without TLS that no word allows."""
        for name, word in IN_SO_MANY_WORDS.items():
            if self._is_set(name):
                self._parsed(name, one_of(word))
        self._problems.extend(
            problem
            for name, problem in plaintext.problems(self._env)
            if not any(each.startswith(f"{name} ") for each in self._problems)
        )

    def _check_webhook_secret(self) -> None:
        """Require WEBHOOK_SECRET if no clients file can hold a secret for each client."""
        names = ("AUTOS_CLIENTS_FILE", "WEBHOOK_SECRET")
        if self._uses("WEBHOOK_SECRET") and not any(map(self._is_set, names)):
            self._problems.append("WEBHOOK_SECRET is not set")

    def _check_callers(self, listen: str | None) -> None:
        """Require client authentication and TLS if GRPC_LISTEN is not a loopback address."""
        if self._is_set("GRPC_TLS_CERT_FILE") or self._is_set("GRPC_TLS_CLIENT_CA_FILE"):
            self._need("GRPC_TLS_KEY_FILE", by="TLS")
        if self._is_set("GRPC_TLS_KEY_FILE") or self._is_set("GRPC_TLS_CLIENT_CA_FILE"):
            self._need("GRPC_TLS_CERT_FILE", by="TLS")
        if listen is None or is_loopback(listen) or not self._uses("GRPC_LISTEN"):
            return
        if not self._is_set("AUTOS_CLIENTS_FILE"):
            self._need_words("AUTOS_WITHOUT_CLIENTS", "AUTOS_CLIENTS_FILE")
        elif not self._is_set("GRPC_TLS_CERT_FILE"):
            self._need_words("GRPC_PLAINTEXT", "GRPC_TLS_CERT_FILE")

    def _need_words(self, name: str, better: str) -> None:
        if not self._is_set(name):
            self._problems.append(
                f"GRPC_LISTEN leads beyond loopback: set {better},"
                f" or {name}={IN_SO_MANY_WORDS[name]}"
            )

    def _need(self, *names: str, by: str) -> None:
        missing = [name for name in names if not self._is_set(name)]
        self._problems.extend(f"{name} is not set, but {by} needs it" for name in missing)

    def _is_set(self, name: str) -> bool:
        return name in self._unread or bool(self._env.get(name, "").strip())

    def _uses(self, name: str) -> bool:
        return not self._process or self._process in USED_BY.get(name, (self._process,))


def is_loopback(listen: str) -> bool:
    """Return whether only this machine can reach host:port. Of names, only localhost counts."""
    return is_loopback_host(listen.rpartition(":")[0])


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
