"""Each client's webhooks are signed with secrets that no other client has."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from storage.clients.client_registry import ClientLimits
from storage.clients.clients_file import ClientsFile
from storage.clients.webhook_secrets import WebhookSecrets

LIMITS = ClientLimits(*[1] * 5)
SHARED, A, B, C = (
    "whsec_" + base64.b64encode(seed * 32).decode() for seed in (b"s", b"a", b"b", b"c")
)


def _write(file: Path, **clients: list[str]) -> None:
    entries: list[dict[str, Any]] = [
        {"name": name, "webhook_secrets": secrets} for name, secrets in clients.items()
    ]
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"clients": entries}))
    new.replace(file)


def _secrets(folder: Path, **clients: list[str]) -> WebhookSecrets:
    file = folder / "clients.json"
    _write(file, **clients)
    return WebhookSecrets([SHARED], ClientsFile(file, LIMITS))


def test_without_clients_the_shared_secret_signs_for_the_one_there_is() -> None:
    secrets = WebhookSecrets([SHARED])

    assert secrets.current("default") == [SHARED]
    # Started by a server that has a clients file.
    assert not secrets.current("billing")


def test_the_shared_secret_signs_for_a_single_client(tmp_path: Path) -> None:
    secrets = _secrets(tmp_path, billing=[])

    assert secrets.current("billing") == [SHARED]
    assert not secrets.current("default")


def test_several_clients_without_a_secret_have_none(tmp_path: Path) -> None:
    secrets = _secrets(tmp_path, billing=[], archive=[], press=[A])

    assert not secrets.current("billing")
    assert not secrets.current("archive")
    assert secrets.current("press") == (A,)


def test_each_client_has_its_own_and_one_may_have_the_shared(tmp_path: Path) -> None:
    secrets = _secrets(tmp_path, billing=[], archive=[A, B], press=[C])

    assert secrets.current("archive") == (A, B)
    assert secrets.current("press") == (C,)
    assert secrets.current("billing") == [SHARED]
    assert not secrets.current("nobody")


def test_a_secret_that_was_replaced_signs_nothing_more(tmp_path: Path) -> None:
    secrets = _secrets(tmp_path, billing=[A], archive=[B])

    _write(tmp_path / "clients.json", billing=[A, C], archive=[B])
    assert secrets.current("billing") == (A, C)
    _write(tmp_path / "clients.json", billing=[C], archive=[B])
    assert secrets.current("billing") == (C,)
    (tmp_path / "clients.json").write_text("{")
    assert secrets.current("billing") == (C,)
