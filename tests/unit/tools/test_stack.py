"""Test the settings that `make run` chooses for its processes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.embedded.sandbox import CREDENTIALS
from dev.folder import DataFolder
from dev.stack import _kinds, _own_settings
from storage.login.login_values import Cipher


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "var")
    yield folder
    folder.close()


def test_the_encryption_key_is_made_once_and_kept_from_others(folder: DataFolder) -> None:
    key = _own_settings({}, folder)["AUTOS_ENCRYPTION_KEY"]

    assert _own_settings({}, folder)["AUTOS_ENCRYPTION_KEY"] == key
    cipher = Cipher((key,))
    assert cipher.decrypt(cipher.encrypt("any")) == "any"
    file = folder.path / "secrets" / "encryption_key"
    assert file.read_text().strip() == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_given_encryption_key_is_not_replaced(folder: DataFolder) -> None:
    assert "AUTOS_ENCRYPTION_KEY" not in _own_settings({"AUTOS_ENCRYPTION_KEY": "given"}, folder)
    assert not (folder.path / "secrets" / "encryption_key").exists()


@pytest.mark.parametrize("name", CREDENTIALS)
def test_any_setting_of_a_login_disables_the_sandbox_login(name: str) -> None:
    assert "portal" in _kinds({})
    assert "portal" not in _kinds({name: "x"})
