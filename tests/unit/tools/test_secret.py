"""`make secret` prints the key of the environment, of a file or of the data folder."""

from pathlib import Path

import pytest

from dev import secret


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("whsec_from_a_file\n")
    return file


def test_it_prints_the_key_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert secret.main({"WEBHOOK_SECRET": "whsec_given"}) == 0
    assert capsys.readouterr().out == "whsec_given\n"


def test_it_prints_the_key_of_a_file(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert secret.main({"WEBHOOK_SECRET_FILE": str(key_file)}) == 0
    assert capsys.readouterr().out == "whsec_from_a_file\n"


def test_a_file_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert secret.main({"WEBHOOK_SECRET_FILE": str(tmp_path / "none")}) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_folder_without_a_key_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert secret.main({"DATA_DIR": str(tmp_path)}) == 1
    assert str(tmp_path) in capsys.readouterr().err
